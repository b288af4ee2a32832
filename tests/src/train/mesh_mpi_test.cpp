// Every mesh gives the one-rank run: data x tensor in either layout, with accumulation, recomputation, shared tokens and
// shared states, and checkpoints pass from one mesh to another.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "tests/src/train/covering.h"
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
  std::int64_t micro_batch;
  std::string recompute;
  bool sequence;
  std::int64_t zero;
  bool split;
};

/// Choices beside the mesh itself: some, in which each pair comes up, or with MEDFUSE_EVERY_MESH=1 all that there are.
std::vector<Way> ways(int tensor, int world) {
  const std::vector<std::int64_t> micro_batches = {64, 2};
  const std::vector<std::string> recompute = {"none", "attention", "full"};
  // What a group of one has no use for is left out.
  const std::size_t sequence = tensor > 1 ? 2 : 1, zero = world > tensor ? 4 : 1, layouts = world > tensor ? 2 : 1;
  const std::vector<std::size_t> sizes = {micro_batches.size(), recompute.size(), sequence, zero, layouts};
  std::vector<Way> all;
  for (const Combination& c : std::getenv("MEDFUSE_EVERY_MESH") ? all_combinations(sizes) : pairwise_covering(sizes)) {
    all.push_back({micro_batches[c[0]], recompute[c[1]], c[2] == 1, static_cast<std::int64_t>(c[3]), c[4] == 1});
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

  /// Two key/value heads, or three where two would not fit: some degrees split them, some share them.
  std::int64_t key_heads() const { return world_->size() % 3 == 0 ? 3 : 2; }

  tiny::Run run(const TrainOptions& options, Ranks ranks, const std::string& name, std::int64_t every = 0,
                const std::function<void(const StepRecord&)>& after_step = {}) {
    return tiny::train(options, *reader_, ranks, std::filesystem::path(shared_) / name, every, after_step, key_heads());
  }
  tiny::Run oracle(const TrainOptions& options) {
    return run(options, {*alone_, *alone_}, "alone" + std::to_string(world_->rank()) + std::to_string(runs_++));
  }
  bool fits(int tensor) const { return key_heads() % tensor == 0 || tensor % key_heads() == 0; }

  tiny::TempFolder folder_;
  std::unique_ptr<cluster::Communicator> world_, alone_;
  std::unique_ptr<data::PackedReader> reader_;
  std::string shared_;
  std::vector<int> degrees_;
  int runs_ = 0;
};

TEST_F(MeshTest, EveryParameterEqualsTheOneRankRun) {
  auto options = tiny::options("f64");
  options.encoders.length.steps = 5;
  options.fusion_stage.length.steps = 5;
  const auto expected = oracle(options);
  for (const int tensor : degrees_) {
    if (!fits(tensor)) continue;
    for (const Way& way : ways(tensor, world_->size())) {
      options.micro_batch = way.micro_batch;
      options.recompute = way.recompute;
      options.parallel.sequence = way.sequence;
      options.parallel.zero = way.zero;
      const std::string what = fmt::format("tensor {}, micro-batch {}, recompute {}, zero {}{}{}", tensor, way.micro_batch,
                                           way.recompute, way.zero, way.sequence ? ", sequence" : "",
                                           way.split ? ", split" : "");
      Mesh mesh(*world_, tensor, way.split ? std::optional(0) : std::nullopt);
      const auto actual = run(options, mesh.ranks(), "mesh" + std::to_string(runs_++));
      const auto [distance, name] =
          tiny::distance(tiny::whole(actual, mesh.ranks()), expected.parameters, options);
      EXPECT_LE(distance, 1e-10) << name << ", " << what;
      ASSERT_EQ(actual.losses.size(), expected.losses.size());
      for (std::size_t i = 0; i < expected.losses.size(); ++i) EXPECT_NEAR(actual.losses[i], expected.losses[i], 1e-10);
      // What is frozen stays as it was made, to the bit.
      const auto made = tiny::make_model(options, reader_->info(), tensor_parallel(mesh.groups.tensor()), key_heads());
      const auto frozen = actual.model->text->named_buffers();
      for (const auto& weight : made->text->named_buffers()) {
        if (const auto unit = unit_of(weight.key()); actual.shards && unit) actual.shards->fetch(*unit, std::nullopt);
        EXPECT_TRUE(at::equal(frozen[weight.key()], weight.value())) << weight.key() << ", " << what;
      }
    }
  }
}

// What is held by several ranks must stay the same on all of them, to the bit.
TEST_F(MeshTest, TheSameMeshGivesTheSameBits) {
  auto options = tiny::options("f32");
  for (const int tensor : degrees_) {
    if (!fits(tensor)) continue;
    Mesh mesh(*world_, tensor);
    const auto first = run(options, mesh.ranks(), "bits" + std::to_string(runs_++));
    const auto second = run(options, mesh.ranks(), "bits" + std::to_string(runs_++));
    for (std::size_t i = 0; i < first.parameters.size(); ++i) {
      EXPECT_TRUE(at::equal(first.parameters[i].second, second.parameters[i].second)) << first.parameters[i].first;
    }
  }
}

struct Killed {};

TEST_F(MeshTest, ACheckpointPassesFromMeshToMesh) {
  if (world_->size() == 1) GTEST_SKIP() << "one rank is one mesh";
  const auto options = tiny::options("f64");
  const auto expected = oracle(options);
  // One mesh after the other gets a few steps further, each killed behind a checkpoint that lies in between.
  const std::vector<std::int64_t> kills = {5, 9, 14, 18};
  std::size_t next = 0;
  tiny::Run last;
  std::optional<Mesh> mesh;
  for (std::size_t turn = 0; turn <= kills.size(); ++turn) {
    int tensor = degrees_[turn % degrees_.size()];
    if (!fits(tensor)) tensor = 1;
    mesh.emplace(*world_, tensor);
    const auto kill = [&](const StepRecord& record) {
      if (turn < kills.size() && record.global_step == kills[next]) throw Killed();
    };
    if (turn < kills.size()) {
      EXPECT_THROW(run(options, mesh->ranks(), "handed", 2, kill), Killed);
      ++next;
    } else {
      last = run(options, mesh->ranks(), "handed", 2, kill);
    }
    world_->barrier();
  }
  const auto [distance, name] = tiny::distance(tiny::whole(last, mesh->ranks()), expected.parameters, options);
  EXPECT_LE(distance, 1e-9) << name;
}

}  // namespace
}  // namespace medfuse::train
