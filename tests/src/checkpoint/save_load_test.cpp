#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <torch/types.h>

#include <csignal>
#include <fstream>

#include "src/checkpoint/folder.h"
#include "src/checkpoint/manifest.h"
#include "src/checkpoint/reader.h"
#include "src/checkpoint/verify.h"
#include "src/checkpoint/writer.h"
#include "tests/src/checkpoint/state.h"
#include "tests/src/checkpoint/temporary_folder.h"
#include "tests/src/checkpoint/thread_ranks.h"

namespace medfuse::checkpoint {
namespace {
namespace fs = std::filesystem;
using testing::HasSubstr;

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(folder)) names.push_back(item.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(SaveLoad, AnyNumberOfRanksReadsWhatAnyNumberWrote) {
  for (int writers = 1; writers <= 4; ++writers) {
    const TemporaryFolder folder;
    ThreadRanks::run_well(writers, [&](const Team& team) {
      const SaveReport report =
          save(folder.path(), 200, local_state(1, team.rank, team.size), {{"stage", "fusion"}}, team);
      EXPECT_EQ(report.path, folder.path() / "step-000000200");
      EXPECT_GT(report.bytes, 2'000'000);
    });
    const auto newest = Reader::newest(folder.path());
    ASSERT_TRUE(newest);
    const Reader reader(*newest);
    EXPECT_EQ(reader.step(), 200);
    EXPECT_EQ(reader.extra(), (nlohmann::json{{"stage", "fusion"}}));
    const auto expected = whole_state(1);
    EXPECT_EQ(reader.tensors().size(), expected.size());
    for (const auto& [name, tensor] : expected) EXPECT_TRUE(same(reader.read(name), tensor)) << name;
    for (int readers = 1; readers <= 4; ++readers) {
      for (int rank = 0; rank < readers; ++rank) {
        for (const ShardedTensor& own : local_state(1, rank, readers)) {
          EXPECT_TRUE(same(reader.read(own.name, own.offset, own.local.sizes().vec()), own.local))
              << own.name << ", rank " << rank << " of " << readers << ", written by " << writers;
        }
      }
    }
    EXPECT_TRUE(verify(*newest).problems.empty());
  }
}

TEST(SaveLoad, IsReadableByItsOwnerOnly) {
  const TemporaryFolder folder;
  const mode_t before = ::umask(0);
  save(folder.path() / "checkpoints", 7, local_state(1, 0, 1), {}, Team::alone());
  ::umask(before);
  const fs::path path = folder.path() / "checkpoints" / "step-000000007";
  EXPECT_EQ(names_in(path), (std::vector<std::string>{"manifest.json", "rank-00000.h5"}));
  struct stat status;
  for (const fs::path& file : {path / "manifest.json", path / "rank-00000.h5"}) {
    ASSERT_EQ(::stat(file.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0600u) << file;
  }
  for (const fs::path& one : {path, path.parent_path()}) {
    ASSERT_EQ(::stat(one.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0700u) << one;
  }
}

TEST(SaveLoad, Hdf5ReadsTheFile) {
  const TemporaryFolder folder;
  const fs::path path = save(folder.path(), 7, local_state(1, 0, 1), {}, Team::alone()).path;
  const hid_t file = H5Fopen((path / "rank-00000.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  for (const char* name : {"text/q.lora_b", "text/norm", "labs.weight"}) {  // bfloat16, float16, float64
    const at::Tensor expected = whole_state(1).at(name).to(at::kDouble);
    at::Tensor values = at::zeros_like(expected);
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    ASSERT_GE(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data_ptr()), 0) << name;
    EXPECT_TRUE(at::equal(values, expected)) << name;
    H5Dclose(dataset);
  }
  H5Fclose(file);
}

TEST(SaveLoad, ASnapshotIsACopy) {
  const TemporaryFolder folder;
  const at::Tensor parameter = at::ones({10, 3});
  const Snapshot snapshot = take_snapshot(5, {replicated("p", parameter)}, {}, Team::alone());
  parameter.fill_(9);
  write(folder.path(), snapshot, Team::alone());
  EXPECT_TRUE(at::equal(Reader(*Reader::newest(folder.path())).read("p"), at::ones({10, 3})));
}

TEST(SaveLoad, KeepsTheNewest) {
  const TemporaryFolder folder;
  const auto at_step = [&](std::int64_t step, std::int64_t keep) {
    return save(folder.path(), step, {replicated("p", at::full({3}, step))}, {}, Team::alone(), {keep});
  };
  for (const std::int64_t step : {10, 20, 30}) at_step(step, 2);
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"step-000000020", "step-000000030"}));
  at_step(40, 0);
  EXPECT_EQ(names_in(folder.path()).size(), 3u);
  // A damaged one does not count among those kept, and later steps are of a course that was left.
  fs::remove(folder.path() / "step-000000030" / "manifest.json");
  const SaveReport report = at_step(35, 2);
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"step-000000020", "step-000000030", "step-000000035"}));
  EXPECT_EQ(report.removed, std::vector<fs::path>{folder.path() / "step-000000040"});
  at_step(36, 1);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"step-000000036"});
}

TEST(SaveLoad, ReplacesACheckpointOfTheSameStep) {
  const TemporaryFolder folder;
  for (const double value : {1.0, 2.0}) {
    save(folder.path(), 10, {replicated("p", at::full({3}, value))}, {}, Team::alone(), {1});
    EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"step-000000010"});
    EXPECT_EQ(Reader(*Reader::newest(folder.path())).read("p")[0].item<double>(), value);
  }
}

TEST(SaveLoad, ReplacesWhereFoldersCannotBeExchanged) {
  const TemporaryFolder folder;
  const fs::path path = save(folder.path(), 10, {replicated("p", at::full({3}, 1))}, {}, Team::alone()).path;
  // Killed between the two renames: the old one has stepped aside and is still found.
  fs::rename(path, folder.path() / "step-000000010.replaced");
  EXPECT_EQ(Reader(*Reader::newest(folder.path())).step(), 10);
  save(folder.path(), 10, {replicated("p", at::full({3}, 2))}, {}, Team::alone());
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"step-000000010"});
  const fs::path partial = partial_path(folder.path(), 10);
  fs::copy(path, partial, fs::copy_options::recursive);
  publish(partial, path, false);
  EXPECT_EQ(Reader(*Reader::newest(folder.path())).path(), path);
  EXPECT_EQ(superseded(folder.path(), 10, {}), std::vector<fs::path>{folder.path() / "step-000000010.replaced"});
}

TEST(SaveLoad, ClearsWhatAKilledWriterLeft) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path() / ".step-000000005.partial");
  std::ofstream(folder.path() / ".step-000000005.partial" / "rank-00000.h5") << "half";
  fs::create_directories(folder.path() / ".step-000000001.removed");
  EXPECT_FALSE(Reader::newest(folder.path()));
  save(folder.path(), 5, local_state(1, 0, 1), {}, Team::alone());
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"step-000000005"});
}

TEST(SaveLoad, AFullDiskFailsOnAllRanksAndLeavesNoTrace) {
  const TemporaryFolder folder;
  save(folder.path(), 1, {replicated("p", at::ones({3}))}, {}, Team::alone());
  // Stands for a full disk: no file may grow past this size. Only rank 1's is that large.
  struct rlimit before, small;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 100'000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto errors = ThreadRanks::run(3, [&](const Team& team) {
    const std::int64_t rows = team.rank == 1 ? 100'000 : 10, begin = team.rank == 0 ? 0 : team.rank == 1 ? 10 : 100'010;
    save(folder.path(), 2, {sharded("p", at::ones({rows}), 0, begin, 100'020)}, {}, team);
  });
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  for (const std::exception_ptr& error : errors) {
    ASSERT_TRUE(error);
    try {
      std::rethrow_exception(error);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::data);
      EXPECT_THAT(e.what(), HasSubstr("rank 1: "));
      EXPECT_THAT(e.what(), HasSubstr("rank-00001.h5"));
    }
  }
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"step-000000001"});
}

TEST(SaveLoad, AFaultOfTheCallerReachesAllRanks) {
  const TemporaryFolder folder;
  const auto errors = ThreadRanks::run(3, [&](const Team& team) {
    save(folder.path(), 1, {replicated("p", team.rank == 2 ? at::Tensor(at::ones({4})) : at::ones({3}))}, {}, team);
  });
  for (const std::exception_ptr& error : errors) {
    ASSERT_TRUE(error);
    EXPECT_THROW(std::rethrow_exception(error), std::logic_error);
  }
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST(SaveLoad, ReadsIntoTheModelsTensors) {
  const TemporaryFolder folder;
  save(folder.path(), 1, local_state(4, 0, 1), {}, Team::alone());
  const Reader reader(*Reader::newest(folder.path()));
  at::Tensor parameter = at::zeros({300, 1000}).requires_grad_();
  reader.read_into("text/q.lora_a", parameter);
  EXPECT_TRUE(same(parameter.detach(), whole_state(4).at("text/q.lora_a")));
  at::Tensor wider = at::zeros({64, 16}, at::kDouble);
  reader.read_into("text/q.lora_b", wider);
  EXPECT_TRUE(at::equal(wider, whole_state(4).at("text/q.lora_b").to(at::kDouble)));
  const auto message = [&](const std::string& name, const at::Tensor& target) -> std::string {
    try {
      reader.read_into(name, target);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_THAT(message("text/q.lora_a", at::zeros({300, 999})),
              HasSubstr("shape [300, 1000], the model has [300, 999]"));
  EXPECT_THAT(message("steps", at::zeros({9})), HasSubstr("type int64, the model has float32"));
  EXPECT_THAT(message("unknown", at::zeros({9})), HasSubstr("holds no tensor unknown"));
  EXPECT_THROW(reader.read("rows", {0, 0}, {14, 1}), std::logic_error);
}

TEST(SaveLoad, ASliceReadsOnlyTheBlocksItTouches) {
  const TemporaryFolder folder;
  const at::Tensor large = at::arange(4 * (1 << 18), at::kFloat).reshape({4, 1 << 18});  // a row is a block
  const fs::path path = save(folder.path(), 1, {replicated("large", large)}, {}, Team::alone()).path;
  // Damage the third row; the others still read.
  std::fstream file(path / "rank-00000.h5", std::ios::in | std::ios::out | std::ios::binary);
  const std::int64_t begin = read_manifest(path).find("large")->shards.at(0).byte_offset;
  file.seekp(begin + 2 * kBlockBytes + 100);
  file.put('\x55');
  file.close();
  const Reader reader(path);
  for (const std::int64_t row : {0, 1, 3})
    EXPECT_TRUE(at::equal(reader.read("large", {row, 5}, {1, 999}), large.slice(0, row, row + 1).slice(1, 5, 1004)));
  EXPECT_THROW(reader.read("large", {2, 5}, {1, 999}), DamagedError);
  EXPECT_THROW(reader.read("large"), DamagedError);
}

TEST(SaveLoad, PathsNeedNotBeUtf8) {
  const TemporaryFolder folder;
  const fs::path odd = folder.path() / "r\xfcn";
  const auto save_only = [&](std::int64_t step) {
    return save(odd, step, {replicated("p", at::ones({3}))}, {{"config", "path = p\xe4th\n"}}, Team::alone(), {.keep = 1});
  };
  save_only(1);
  const SaveReport report = save_only(2);
  EXPECT_EQ(report.path, odd / step_name(2));
  EXPECT_EQ(report.removed, std::vector<fs::path>{odd / step_name(1)});
  EXPECT_EQ(Reader(report.path).extra().at("config"), "path = p\uFFFDth\n");
}

TEST(SaveLoad, ARunThatGoesOnMayReplaceAllThatWasListed) {
  const TemporaryFolder folder;
  const auto save_only = [&](std::int64_t step) {
    save(folder.path(), step, {replicated("p", at::full({3}, step))}, {}, Team::alone(), {.keep = 1});
  };
  save_only(1);
  std::int64_t running = 1;
  at::Tensor loaded = at::zeros({3}, at::kLong);
  const auto load = [&](const Reader& reader) {
    if (running < 4) save_only(++running);  // between the opening of the manifest and that of the shard
    reader.read_into("p", loaded);
  };
  const auto warn = [](const std::string& line) { ADD_FAILURE() << line; };
  EXPECT_EQ(load_newest(folder.path(), Team::alone(), load, warn), 4);
  EXPECT_TRUE(at::equal(loaded, at::full({3}, 4)));
}

}  // namespace
}  // namespace medfuse::checkpoint
