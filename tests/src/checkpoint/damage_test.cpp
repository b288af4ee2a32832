#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include <fstream>

#include "base/checksum.h"
#include "base/files.h"
#include "base/random.h"
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

/// A checkpoint of two ranks to damage.
class Damage : public testing::Test {
 protected:
  Damage() { path_ = save_step(200); }

  fs::path save_step(std::int64_t step) {
    ThreadRanks::run_well(2, [&](const Team& team) {
      save(folder_.path(), step, local_state(step, team.rank, team.size), {{"step", step}}, team, {0});
    });
    return folder_.path() / step_name(step);
  }

  void flip(const fs::path& file, std::int64_t at) {
    std::string content = read_file(file);
    content[static_cast<std::size_t>(at)] = static_cast<char>(content[static_cast<std::size_t>(at)] ^ 0x10);
    std::ofstream(file, std::ios::binary) << content;
  }

  /// What is said when everything is read.
  std::string message(const fs::path& path) {
    try {
      const Reader reader(path);
      for (const TensorInfo& tensor : reader.tensors()) reader.read(tensor.name);
    } catch (const DamagedError& error) {
      return error.what();
    }
    return "nothing";
  }

  /// Changes a manifest as somebody would who also mends its checksum.
  template <class Change>
  std::string message_after(Change change) {
    const std::string before = read_file(path_ / kManifestName);
    nlohmann::json root = nlohmann::json::parse(before);
    change(root);
    root.erase("xxh64");
    write_file_atomically(path_ / kManifestName, seal(root.dump().substr(1)));
    std::string said;
    try {
      said = message(path_);
    } catch (const Error& error) {
      said = error.what();
    }
    write_file_atomically(path_ / kManifestName, before);
    return said;
  }

  TemporaryFolder folder_;
  fs::path path_;
};

TEST_F(Damage, NothingIsFoundWhereNothingIs) {
  EXPECT_EQ(message(path_), "nothing");
  EXPECT_EQ(message_after([](auto&) {}), "nothing");
  EXPECT_TRUE(verify(path_).problems.empty());
}

TEST_F(Damage, EveryFlippedByteIsNoticed) {
  const Manifest manifest = read_manifest(path_);
  for (const FileEntry& file : manifest.files) {
    for (std::uint64_t i = 0; i < 30; ++i) {
      const auto at = static_cast<std::int64_t>(mix(i + file.header) % static_cast<std::uint64_t>(file.bytes));
      flip(path_ / file.name, at);
      const auto problems = verify(path_).problems;
      ASSERT_EQ(problems.size(), 1u) << file.name << " byte " << at;
      EXPECT_THAT(problems[0], HasSubstr(file.name));
      flip(path_ / file.name, at);
    }
  }
  EXPECT_TRUE(verify(path_).problems.empty());
}

TEST_F(Damage, AFlippedByteNamesFileTensorAndRemedy) {
  const Manifest manifest = read_manifest(path_);
  for (const TensorEntry& tensor : manifest.tensors) {
    if (tensor.shards.empty()) continue;
    const Shard& shard = tensor.shards.back();
    const fs::path file = path_ / manifest.files[shard.file].name;
    flip(file, shard.byte_offset + shard_bytes(tensor.info, shard) - 1);
    EXPECT_THAT(message(path_), HasSubstr(file.string()));
    EXPECT_THAT(message(path_), HasSubstr("tensor " + tensor.info.name + ","));
    EXPECT_THAT(message(path_), HasSubstr("delete the folder"));
    flip(file, shard.byte_offset + shard_bytes(tensor.info, shard) - 1);
  }
}

TEST_F(Damage, TruncatedAndMissingFiles) {
  fs::resize_file(path_ / "rank-00001.h5", fs::file_size(path_ / "rank-00001.h5") - 1);
  EXPECT_THAT(message(path_), HasSubstr("rank-00001.h5: "));
  EXPECT_THAT(message(path_), HasSubstr(" bytes instead of "));
  fs::remove(path_ / "rank-00000.h5");
  EXPECT_THAT(message(path_), HasSubstr("rank-00000.h5: No such file"));
  fs::remove(path_ / "manifest.json");
  EXPECT_THAT(message(path_), HasSubstr("manifest.json: No such file"));
  EXPECT_FALSE(Reader::newest(folder_.path()));
}

TEST_F(Damage, AnEditedOrTornManifest) {
  const std::string text = read_file(path_ / kManifestName);
  for (std::size_t at = 0; at < text.size(); at += 1 + text.size() / 101) {
    flip(path_ / kManifestName, static_cast<std::int64_t>(at));
    EXPECT_THAT(message(path_), HasSubstr("manifest.json: ")) << at;
    write_file_atomically(path_ / kManifestName, text.substr(0, at));
    EXPECT_THAT(message(path_), HasSubstr("manifest.json: ")) << at;
    write_file_atomically(path_ / kManifestName, text);
  }
}

TEST_F(Damage, EveryFieldIsChecked) {
  using nlohmann::json;
  EXPECT_THAT(message_after([](json& m) { m["version"] = 2; }), HasSubstr("format version 2"));
  EXPECT_THAT(message_after([](json& m) { m["format"] = "x"; }), HasSubstr("not the manifest"));
  EXPECT_THAT(message_after([](json& m) { m["block_bytes"] = 1; }), HasSubstr("'block_bytes'"));
  EXPECT_THAT(message_after([](json& m) { m["step"] = -1; }), HasSubstr("'step'"));
  EXPECT_THAT(message_after([](json& m) { m.erase("extra"); }), HasSubstr("'extra' is missing"));
  EXPECT_THAT(message_after([](json& m) { m["files"] = "x"; }), HasSubstr("'files' must be a list"));
  EXPECT_THAT(message_after([](json& m) { m["files"][0] = 3; }), HasSubstr("file 0: must be an object"));
  EXPECT_THAT(message_after([](json& m) { m["files"][0]["name"] = "../x"; }), HasSubstr("'../x' is not a file name"));
  EXPECT_THAT(message_after([](json& m) { m["files"][0]["header"] = "x"; }), HasSubstr("16 hex digits"));
  EXPECT_THAT(message_after([](json& m) { m["files"][0]["bytes"] = 1; }), HasSubstr("bytes instead of 1"));
  const auto tensor = [&](const char* key, const json& value) {
    return message_after([&](json& m) { m["tensors"][1][key] = value; });
  };
  EXPECT_THAT(tensor("name", 3), HasSubstr("tensor number 1: 'name' must be a text"));
  EXPECT_THAT(tensor("name", "zzz"), HasSubstr("not sorted"));
  EXPECT_THAT(tensor("dtype", "float8"), HasSubstr("'dtype' float8"));
  EXPECT_THAT(tensor("shape", "x"), HasSubstr("'shape' must be a list"));
  EXPECT_THAT(tensor("shape", json::array({40, -1})), HasSubstr("'shape' must be a whole number"));
  EXPECT_THAT(tensor("shape", json::array({1ull << 50, 1ull << 50})), HasSubstr("too large"));
  EXPECT_THAT(tensor("shape", json::array({40, 14})), HasSubstr("do not make up"));
  EXPECT_THAT(tensor("shards", json::array()), HasSubstr("do not make up"));
  const auto shard = [&](const char* key, const json& value) {
    return message_after([&](json& m) { m["tensors"][1]["shards"][0][key] = value; });
  };
  EXPECT_THAT(shard("file", 2), HasSubstr("tensor columns, shard 0: 'file' is out of range"));
  EXPECT_THAT(shard("dataset", 2), HasSubstr("'dataset' must be a text"));
  EXPECT_THAT(shard("byte_offset", 1ull << 61), HasSubstr("lies outside rank-0000"));
  EXPECT_THAT(shard("byte_offset", 1.5), HasSubstr("'byte_offset' must be a whole number"));
  EXPECT_THAT(shard("offset", json::array({0})), HasSubstr("lie outside the tensor"));
  EXPECT_THAT(shard("extent", json::array({40, 1ull << 61})), HasSubstr("lie outside the tensor"));
  EXPECT_THAT(shard("extent", json::array({40, 0})), HasSubstr("'extent' is empty"));
  EXPECT_THAT(shard("blocks", json::array()), HasSubstr("wrong number of checksums"));
  EXPECT_THAT(shard("blocks", json::array({"g"})), HasSubstr("16 hex digits"));
  EXPECT_THAT(shard("blocks", json::array({"0000000000000000"})), HasSubstr("changed or damaged"));
}

TEST_F(Damage, LoadingFallsBackToTheNextOlder) {
  save_step(300);
  save_step(400);
  const Manifest manifest = read_manifest(folder_.path() / step_name(400));
  const Shard& shard = manifest.find("rows")->shards.back();
  flip(folder_.path() / step_name(400) / manifest.files[shard.file].name, shard.byte_offset);
  fs::remove(folder_.path() / step_name(300) / "manifest.json");
  EXPECT_EQ(Reader::newest(folder_.path()), folder_.path() / step_name(400));  // its manifest is sound
  std::vector<std::string> warnings;
  ThreadRanks::run_well(3, [&](const Team& team) {
    at::Tensor own;
    const auto step = load_newest(
        folder_.path(), team,
        [&](const Reader& reader) {
          // Only one rank touches the damaged rows, yet all must agree.
          own = team.rank == 2 ? reader.read("rows") : reader.read("labs.weight");
        },
        [&](const std::string& line) { warnings.push_back(line); });
    EXPECT_EQ(step, 200);
    EXPECT_TRUE(same(own, whole_state(200).at(team.rank == 2 ? "rows" : "labs.weight")));
  });
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_THAT(warnings[0], HasSubstr("tensor rows"));
  EXPECT_THAT(warnings[1], HasSubstr("step-000000300/manifest.json"));
}

TEST_F(Damage, AnotherModelIsNoReasonToFallBack) {
  save_step(300);
  const auto errors = ThreadRanks::run(2, [&](const Team& team) {
    load_newest(
        folder_.path(), team,
        [&](const Reader& reader) {
          reader.read_into("rows", at::zeros({2, 2}));
        },
        [](const std::string&) { FAIL(); });
  });
  for (const std::exception_ptr& error : errors) {
    ASSERT_TRUE(error);
    EXPECT_THROW(std::rethrow_exception(error), Error);
  }
}

TEST_F(Damage, NoCheckpointAndNoSoundCheckpointDiffer) {
  const auto load = [&](const fs::path& folder) {
    return load_newest(
        folder, Team::alone(), [](const Reader&) {}, [](const std::string&) {});
  };
  EXPECT_FALSE(load(folder_.path() / "missing"));
  fs::remove(path_ / "manifest.json");
  EXPECT_THROW(load(folder_.path()), Error);
}

TEST_F(Damage, TheListShowsSoundAndDamaged) {
  save_step(300);
  fs::remove(path_ / "rank-00000.h5");
  const auto all = list(folder_.path());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].step, 200);
  EXPECT_THAT(all[0].problem, HasSubstr("rank-00000.h5"));
  EXPECT_EQ(all[1].step, 300);
  EXPECT_EQ(all[1].problem, "");
  EXPECT_EQ(all[1].files, 2);
  EXPECT_EQ(all[1].tensors, static_cast<std::int64_t>(whole_state(1).size()));
  EXPECT_GT(all[1].bytes, 2'000'000);
  EXPECT_THROW(list(folder_.path() / "missing"), Error);
}

}  // namespace
}  // namespace medfuse::checkpoint
