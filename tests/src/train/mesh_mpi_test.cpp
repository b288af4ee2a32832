// Every mesh gives the one-rank run: data x tensor in either layout, with accumulation, recomputation, shared tokens and
// shared states, and checkpoints pass from one mesh to another.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "src/train/feed.h"
#include "tests/src/train/covering.h"
#include "tests/src/train/forgetful.h"
#include "tests/src/train/test_mesh.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

/// Which unit of a weight store a weight is in, by its name.
std::optional<std::size_t> unit_of(const std::string& name) {
  const std::string layers = "model.layers.";
  if (name.starts_with("model.embed_tokens.")) return 0;
  if (name.starts_with(layers)) return 1 + std::stoul(name.substr(layers.size()));
  return std::nullopt;  // the last norm is whole on every rank
}

struct Way {
  bool accumulate;
  std::string recompute;
  bool sequence;
  std::int64_t zero;
  bool split;
};

/// Choices beside the mesh itself: some, in which each pair comes up, or with MEDFUSE_EVERY_MESH=1 all that there are.
std::vector<Way> ways(int tensor, int world, const std::vector<bool>& accumulate = {false, true},
                      const std::vector<std::string>& recompute = {"none", "attention", "full"}) {
  // What a group of one has no use for is left out.
  const std::size_t sequence = tensor > 1 ? 2 : 1, zero = world > tensor ? 4 : 1, layouts = world > tensor ? 2 : 1;
  const std::vector<std::size_t> sizes = {accumulate.size(), recompute.size(), sequence, zero, layouts};
  std::vector<Way> all;
  for (const Combination& c : std::getenv("MEDFUSE_EVERY_MESH") ? all_combinations(sizes) : pairwise_covering(sizes)) {
    all.push_back({accumulate[c[0]], recompute[c[1]], c[2] == 1, static_cast<std::int64_t>(c[3]), c[4] == 1});
  }
  return all;
}

class MeshTest : public testing::Test {
 protected:
  void SetUp() override {
    static cluster::Process process;
    world_ = cluster::make_mpi_communicator(process);
    alone_ = world_->split(world_->rank(), 0);
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
    shared_ = process.broadcast(folder_.path().string());
    for (int tensor = 1; tensor <= world_->size(); ++tensor) {
      if (world_->size() % tensor == 0) degrees_.push_back(tensor);
    }
  }

  /// Two key/value heads, or three where two would not fit: some degrees split them, some share them. A model refuses a
  /// degree that does not fit, so none is left out.
  static std::int64_t key_heads(int tensor) { return tensor % 3 == 0 ? 3 : 2; }

  /// A batch that no number of ranks divides, and of which each has two samples at least.
  static TrainOptions options(const std::string& precision = "f64") {
    auto o = tiny::options(precision);
    o.batch = 13;
    o.encoders.length.steps = 5;
    o.fusion_stage.length.steps = 5;
    return o;
  }
  /// Where gradients are accumulated, a sample is left for a second pass on those ranks that have most.
  static TrainOptions options(TrainOptions o, int data, const Way& way) {
    o.micro_batch = way.accumulate ? (o.batch + data - 1) / data - 1 : 64;
    o.recompute = way.recompute;
    o.parallel.sequence = way.sequence;
    o.parallel.zero = way.zero;
    return o;
  }
  static std::optional<int> lab_ranks(const Way& way) { return way.split ? std::optional(0) : std::nullopt; }
  static std::string described(int tensor, std::int64_t key_heads, const Way& way) {
    return fmt::format("tensor {}, {} key/value heads, {}recompute {}, zero {}{}{}", tensor, key_heads,
                       way.accumulate ? "accumulation, " : "", way.recompute, way.zero,
                       way.sequence ? ", sequence" : "", way.split ? ", split" : "");
  }

  tiny::Run run(const TrainOptions& options, Ranks ranks, const std::string& name, std::int64_t key_heads,
                std::int64_t every = 0, const std::function<void(const StepRecord&)>& after_step = {}) {
    return tiny::train(options, *reader_, ranks, std::filesystem::path(shared_) / name, every, after_step, key_heads);
  }
  tiny::Run oracle(const TrainOptions& options, std::int64_t key_heads) {
    return run(options, {*alone_, *alone_}, "alone" + std::to_string(world_->rank()) + next(), key_heads);
  }
  std::string next() { return "run" + std::to_string(runs_++); }

  void expect_the_one_rank_run(int tensor, std::int64_t key_heads, const Way& way) {
    if (!one_rank_.contains(key_heads)) one_rank_.emplace(key_heads, oracle(options(), key_heads));
    const tiny::Run& expected = one_rank_.at(key_heads);
    const std::string what = described(tensor, key_heads, way);
    Mesh mesh(*world_, tensor, lab_ranks(way));
    const int data = mesh.layout.data;
    const auto o = options(options(), data, way);
    const Feed feed(*reader_, o.seed, "fusion", o.batch, o.micro_batch, mesh.ranks().rank(), data);
    EXPECT_EQ(feed.passes() > 1, way.accumulate) << what;
    EXPECT_TRUE(data == 1 || o.batch % data != 0) << "all ranks have as many samples, " << what;

    const auto actual = run(o, mesh.ranks(), next(), key_heads);
    const auto [distance, name] = tiny::distance(tiny::whole(actual, mesh.ranks()), expected.parameters, o);
    EXPECT_LE(distance, 1e-10) << name << ", " << what;
    ASSERT_EQ(actual.losses.size(), expected.losses.size());
    for (std::size_t i = 0; i < expected.losses.size(); ++i) {
      EXPECT_NEAR(actual.losses[i], expected.losses[i], 1e-10) << what;
      EXPECT_NEAR(actual.norms[i], expected.norms[i], 1e-10 * std::max(1.0, expected.norms[i])) << what;
    }
    // What is frozen stays as it was made, to the bit.
    const auto made = tiny::make_model(o, reader_->info(), tensor_parallel(mesh.groups.tensor()), key_heads);
    const auto frozen = actual.model->text->named_buffers();
    for (const auto& weight : made->text->named_buffers()) {
      if (const auto unit = unit_of(weight.key()); actual.shards && unit) actual.shards->fetch(*unit, std::nullopt);
      EXPECT_TRUE(at::equal(frozen[weight.key()], weight.value())) << weight.key() << ", " << what;
    }
  }

  /// What several ranks hold must be the same on all of them, to the bit.
  void expect_equal_copies(const tiny::Run& run, Mesh& mesh, const std::string& what) {
    const auto parts = trainable_parts(*run.model);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const at::Tensor first = run.parameters[i].second.clone();
      (parts[i].part ? mesh.groups.data() : *world_).broadcast(first, 0)->wait();
      EXPECT_TRUE(at::equal(first, run.parameters[i].second)) << parts[i].name << ", " << what;
    }
  }

  static void expect_same_bits(const tiny::Run& a, const tiny::Run& b, const std::string& what) {
    EXPECT_EQ(a.losses, b.losses) << what;
    EXPECT_EQ(a.norms, b.norms) << what;
    for (std::size_t i = 0; i < a.parameters.size(); ++i) {
      EXPECT_TRUE(at::equal(a.parameters[i].second, b.parameters[i].second)) << a.parameters[i].first << ", " << what;
    }
  }

  tiny::TempFolder folder_;
  std::unique_ptr<cluster::Communicator> world_, alone_;
  std::unique_ptr<data::PackedReader> reader_;
  std::string shared_;
  std::vector<int> degrees_;
  std::map<std::int64_t, tiny::Run> one_rank_;  // by the number of key/value heads
  int runs_ = 0;
};

TEST_F(MeshTest, EveryParameterEqualsTheOneRankRun) {
  for (const int tensor : degrees_) {
    for (const Way& way : ways(tensor, world_->size())) expect_the_one_rank_run(tensor, key_heads(tensor), way);
  }
}

// The gradients of a shared head's adapters are summed over those that share it, and over the data dimension.
TEST_F(MeshTest, SharedKeyHeadsMeetDataParallelism) {
  int meshes = 0;
  for (const int tensor : degrees_) {
    if (tensor == 1 || tensor == world_->size()) continue;
    ++meshes;
    for (const Way& way : ways(tensor, world_->size())) expect_the_one_rank_run(tensor, 1, way);
  }
  if (meshes == 0) GTEST_SKIP() << "no tensor groups beside each other";
}

TEST_F(MeshTest, TheSameMeshGivesTheSameBits) {
  for (const int tensor : degrees_) {
    for (const Way& way : ways(tensor, world_->size(), {true}, {"none"})) {
      const std::string what = described(tensor, key_heads(tensor), way);
      Mesh mesh(*world_, tensor, lab_ranks(way));
      auto o = options(options("f32"), mesh.layout.data, way);
      o.encoders.length.steps = o.fusion_stage.length.steps = 3;
      const auto first = run(o, mesh.ranks(), next(), key_heads(tensor));
      expect_same_bits(first, run(o, mesh.ranks(), next(), key_heads(tensor)), what);
      expect_equal_copies(first, mesh, what);
    }
  }
}

std::ptrdiff_t threads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
}

TEST_F(MeshTest, TwoThreadsGiveTheSameBitsTwice) {
  if (world_->size() > 1) GTEST_SKIP() << "one rank";
  // A batch that is large enough for threads to share the work on it.
  tiny::TempFolder folder;
  tiny::write_data(folder.path(), 80, [](data::Sample& sample) {
    for (std::size_t i = 0; sample.tokens.size() < 16; ++i) sample.tokens.push_back(sample.tokens[i]);
  });
  const data::PackedReader many(folder.path());
  auto o = options("f32");
  o.batch = 64;
  const auto train = [&] { return tiny::train(o, many, {*alone_, *alone_}, folder_.path() / next()); };
  const int before = at::get_num_threads();
  const auto by_one = threads();
  at::set_num_threads(2);
  const auto first = train();
  EXPECT_GT(threads(), by_one) << "nothing was shared";
  expect_same_bits(first, train(), "two threads");
  at::set_num_threads(before);
}

// Each rank would clip by the norm of the parts that it holds.
TEST_F(MeshTest, AForgottenNormOfTheTensorGroupIsNoticed) {
  auto o = options();
  o.clip = 1e-2;  // always at work
  for (const int tensor : degrees_) {
    if (tensor == 1) continue;
    const auto expected = oracle(o, key_heads(tensor));
    Mesh mesh(*world_, tensor);
    const auto distance_without = [&](std::int64_t forgotten) {
      Forgetful forgetful(mesh.groups.tensor(), forgotten, 2);  // squares of the parts, and whether the rest is finite
      Ranks ranks = mesh.ranks();
      ranks.tensor_host = &forgetful;
      const auto actual = run(o, ranks, next(), key_heads(tensor));
      EXPECT_EQ(forgetful.reductions(), 20);
      return tiny::distance(tiny::whole(actual, mesh.ranks()), expected.parameters, o).first;
    };
    EXPECT_LE(distance_without(Forgetful::none), 1e-10);
    // Text and labs, then estimator and all the rest, by turns: the text's first and a late one, the first of the rest.
    for (const std::int64_t forgotten : {0, 6, 11}) EXPECT_GT(distance_without(forgotten), 1e-7) << forgotten;
  }
}

struct Killed {};

TEST_F(MeshTest, ACheckpointPassesFromMeshToMesh) {
  if (world_->size() == 1) GTEST_SKIP() << "one rank is one mesh";
  const auto options = tiny::options("f64");
  const std::int64_t heads = world_->size() % 3 == 0 ? 6 : 2;  // all degrees go with one number of them
  const auto expected = oracle(options, heads);
  // One mesh after the other gets a few steps further, each killed behind a checkpoint that lies in between.
  const std::vector<std::int64_t> kills = {5, 9, 14, 18};
  tiny::Run last;
  std::optional<Mesh> mesh;
  for (std::size_t turn = 0; turn <= kills.size(); ++turn) {
    mesh.emplace(*world_, degrees_[turn % degrees_.size()]);
    const auto kill = [&](const StepRecord& record) {
      if (turn < kills.size() && record.global_step == kills[turn]) throw Killed();
    };
    if (turn < kills.size()) {
      EXPECT_THROW(run(options, mesh->ranks(), "handed", heads, 2, kill), Killed);
    } else {
      last = run(options, mesh->ranks(), "handed", heads, 2, kill);
    }
    world_->barrier();
  }
  const auto [distance, name] = tiny::distance(tiny::whole(last, mesh->ranks()), expected.parameters, options);
  EXPECT_LE(distance, 1e-10) << name;
}

}  // namespace
}  // namespace medfuse::train
