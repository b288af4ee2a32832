// The split layout of the encoder stage: some ranks pretrain the lab transformer while the others fine-tune the text
// encoder, and the run is that of one rank that did both in turn.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "cluster/wrapped_communicator.h"
#include "tests/src/train/test_mesh.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

/// What the owners of one encoder send does not arrive.
class Deaf : public cluster::WrappedCommunicator {
 public:
  Deaf(cluster::Communicator& inner, int root) : WrappedCommunicator(inner), root_(root) {}
  std::unique_ptr<cluster::Work> broadcast(const at::Tensor& tensor, int root) override {
    const at::Tensor kept = root == root_ ? tensor.clone() : tensor;  // the others still meet
    auto work = WrappedCommunicator::broadcast(kept, root);
    if (root == root_) work->wait();
    heard_ += root != root_;
    return work;
  }
  int heard() const { return heard_; }

 private:
  int root_;
  int heard_ = 0;
};

struct Killed {};

class SplitTest : public testing::Test {
 protected:
  void SetUp() override {
    static cluster::Process process;
    world_ = cluster::make_mpi_communicator(process);
    world_->set_timeout(std::chrono::seconds(60));  // a rank that gave up shall not hold the others for long
    alone_ = world_->split(world_->rank(), 0);
    tiny::write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
    shared_ = process.broadcast(folder_.path().string());
    for (int tensor = 1; 2 * tensor <= world_->size(); ++tensor) {
      if (world_->size() % tensor == 0) degrees_.push_back(tensor);
    }
  }
  void TearDown() override { world_->barrier(); }

  /// From now on models have two key/value heads, or three, which tensor groups of three can divide.
  void make_fit(int tensor) { key_heads_ = tensor % 3 == 0 ? 3 : 2; }

  static TrainOptions options(const std::string& precision = "f64") {
    auto o = tiny::options(precision);
    o.encoders.lab_learning_rate = 5e-3;
    return o;
  }

  using Records = std::vector<StepRecord>;
  tiny::Run run(const TrainOptions& options, Ranks ranks, const std::string& name, std::int64_t every = 0,
                Records* records = nullptr, std::int64_t kill = -1) {
    return tiny::train(options, *reader_, ranks, std::filesystem::path(shared_) / name, every,
                       [&](const StepRecord& record) {
                         if (records) records->push_back(record);
                         if (record.global_step == kill) throw Killed();
                       },
                       key_heads_);
  }
  std::string next() { return "run" + std::to_string(runs_++); }
  tiny::Run oracle(const TrainOptions& options, Records* records = nullptr) {
    return run(options, {*alone_, *alone_}, "alone" + std::to_string(world_->rank()) + next(), 0, records);
  }

  /// All that metrics.jsonl gets of a step but its duration.
  static void expect_same(const Records& actual, const Records& expected, const std::string& what) {
    ASSERT_EQ(actual.size(), expected.size()) << what;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const StepRecord& a = actual[i];
      const StepRecord& b = expected[i];
      const std::string where = fmt::format("{} step {}, {}", b.stage, b.step, what);
      EXPECT_EQ(a.stage, b.stage) << where;
      EXPECT_EQ(a.epoch, b.epoch) << where;
      EXPECT_NEAR(a.loss, b.loss, 1e-10 * std::max(1.0, std::abs(b.loss))) << where;
      EXPECT_EQ(a.learning_rate, b.learning_rate) << where;
      EXPECT_NEAR(a.gradient_norm, b.gradient_norm, 1e-9 * std::max(1.0, b.gradient_norm)) << where;
      EXPECT_NEAR(a.samples, b.samples, 1e-10) << where;
      EXPECT_NEAR(a.tokens, b.tokens, 1e-10) << where;
      ASSERT_EQ(a.others.size(), b.others.size()) << where;
      for (std::size_t k = 0; k < b.others.size(); ++k) {
        EXPECT_EQ(a.others[k].first, b.others[k].first) << where;
        EXPECT_NEAR(a.others[k].second, b.others[k].second, 1e-10 * std::max(1.0, std::abs(b.others[k].second))) << where;
      }
    }
  }

  tiny::TempFolder folder_;
  std::unique_ptr<cluster::Communicator> world_, alone_;
  std::unique_ptr<data::PackedReader> reader_;
  std::string shared_;
  std::vector<int> degrees_;
  std::int64_t key_heads_ = 2;
  int runs_ = 0;
};

TEST_F(SplitTest, EveryParameterEqualsTheInterleavedRun) {
  struct Way {
    std::int64_t micro_batch;
    const char* recompute;
    std::int64_t zero;
    bool sequence;
    std::int64_t lab_steps;  // the text encoder makes 5
  };
  const std::vector<Way> ways = {{64, "none", 0, false, 0}, {2, "full", 1, true, 3}, {2, "none", 2, false, 8},
                                 {2, "attention", 3, true, 0}, {1, "none", 3, false, 3}};
  for (const int tensor : degrees_) {
    make_fit(tensor);
    for (const Way& way : ways) {
      auto o = options();
      o.encoders.length.steps = 5;
      o.fusion_stage.length.steps = 4;
      o.encoders.lab_steps = way.lab_steps;
      o.recompute = way.recompute;
      Records one;
      const auto expected = oracle(o, &one);
      ASSERT_EQ(one.size(), static_cast<std::size_t>(std::max<std::int64_t>(5, way.lab_steps) + 4));
      o.micro_batch = way.micro_batch;
      o.parallel.zero = way.zero;
      o.parallel.sequence = way.sequence && tensor > 1;
      for (int labs = tensor; labs < world_->size(); labs += tensor) {
        const std::string what =
            fmt::format("tensor {}, {} lab ranks, micro-batch {}, recompute {}, zero {}{}, {} lab steps", tensor, labs,
                        way.micro_batch, way.recompute, way.zero, o.parallel.sequence ? ", sequence" : "", way.lab_steps);
        Mesh mesh(*world_, tensor, labs);
        Records records;
        const auto actual = run(o, mesh.ranks(), next(), 0, &records);
        const auto [distance, name] =
            tiny::distance(tiny::whole(actual, mesh.ranks()), expected.parameters, o);
        EXPECT_LE(distance, 1e-10) << name << ", " << what;
        expect_same(records, one, what);
      }
    }
  }
}

TEST_F(SplitTest, EachRankTrainsOneEncoderAndGetsTheOther) {
  const auto o = options();
  for (const int tensor : degrees_) {
    make_fit(tensor);
    Mesh mesh(*world_, tensor, tensor);
    const auto ranks = tensor_parallel(mesh.groups.tensor());
    const auto made = tiny::make_model(o, reader_->info(), ranks, key_heads_);
    const auto model = tiny::make_model(o, reader_->info(), ranks, key_heads_);
    const bool for_labs = mesh.ranks().trains_labs();
    EncodersStage stage(o, *model, *reader_, mesh.ranks());
    for (const auto& tensor_of_state : stage.state()) {
      EXPECT_EQ(tensor_of_state.name.starts_with("labs/"), for_labs) << tensor_of_state.name;
    }
    for (std::int64_t step = 0; step < 3; ++step) stage.step(step);
    const auto changed = [&](const std::string& prefix) {
      const auto before = made->trainable({prefix}), now = model->trainable({prefix});
      std::size_t count = 0;
      for (std::size_t i = 0; i < now.size(); ++i) count += !at::equal(before[i].second, now[i].second);
      return count;
    };
    EXPECT_EQ(changed("text.") > 0, !for_labs);
    EXPECT_EQ(changed("text_head.") > 0, !for_labs);
    EXPECT_EQ(changed("labs.") > 0, for_labs);
    std::vector<at::Tensor> own;
    for (const auto& [name, parameter] : model->trainable()) own.push_back(parameter.detach().clone());
    stage.unite_parameters();
    const auto now = model->trainable();
    for (std::size_t i = 0; i < now.size(); ++i) {
      const bool of_labs = now[i].first.starts_with("labs.");
      if (of_labs == for_labs) {
        EXPECT_TRUE(at::equal(own[i], now[i].second)) << now[i].first << " of its owner";
      }
      // The bits of the owner, on every rank that holds the same part.
      const at::Tensor owners = now[i].second.detach().clone();
      mesh.groups.data().broadcast(owners, of_labs ? mesh.layout.first_lab_row() : 0)->wait();
      EXPECT_TRUE(at::equal(owners, now[i].second)) << now[i].first;
    }
    EXPECT_GT(changed("text."), 0u);
    EXPECT_GT(changed("labs."), 0u);
  }
}

TEST_F(SplitTest, AResumedRunHasTheBitsOfAnUninterruptedOne) {
  for (const std::int64_t zero : {0, 1, 3}) {
    auto o = options("f32");
    o.parallel.zero = zero;
    o.encoders.lab_steps = 6;
    for (const int tensor : degrees_) {
      make_fit(tensor);
      Mesh mesh(*world_, tensor, tensor);
      const auto whole = run(o, mesh.ranks(), next(), 4);
      for (const std::int64_t kill : {5, 9, 15}) {  // while both learn, behind the end of the labs, in fusion
        const std::string name = next();
        EXPECT_THROW(run(o, mesh.ranks(), name, 4, nullptr, kill), Killed);
        world_->barrier();
        const auto resumed = run(o, mesh.ranks(), name, 4);
        EXPECT_LT(resumed.losses.size(), 20u) << "it began afresh";
        for (std::size_t i = 0; i < whole.parameters.size(); ++i) {
          EXPECT_TRUE(at::equal(resumed.parameters[i].second, whole.parameters[i].second))
              << whole.parameters[i].first << ", zero " << zero << ", tensor " << tensor << ", killed at " << kill;
        }
      }
    }
  }
}

TEST_F(SplitTest, ACheckpointPassesFromSplitToInterleavedAndBack) {
  auto o = options();
  o.micro_batch = 2;
  o.encoders.lab_steps = 7;
  const auto expected = oracle(o);
  // Split and interleaved in turn, each with another mesh, and each killed behind a checkpoint that lies in between.
  const std::vector<std::int64_t> kills = {3, 5, 9, 12, 15};
  for (const bool split_first : {true, false}) {
    const std::string name = next();
    tiny::Run last;
    std::optional<Mesh> mesh;
    for (std::size_t turn = 0; turn <= kills.size(); ++turn) {
      int tensor = degrees_[turn / 2 % degrees_.size()];
      if (key_heads_ % tensor != 0) tensor = 1;
      const bool split = (turn % 2 == 0) == split_first;
      const int most = world_->size() - tensor;
      mesh.emplace(*world_, tensor, split ? std::optional(turn < 3 ? tensor : most) : std::nullopt);
      o.parallel.zero = std::array<std::int64_t, 4>{0, 3, 1, 2}[(turn + (split_first ? 1 : 0)) % 4];
      if (turn < kills.size()) {
        EXPECT_THROW(run(o, mesh->ranks(), name, 2, nullptr, kills[turn]), Killed);
      } else {
        last = run(o, mesh->ranks(), name, 2);
      }
      world_->barrier();
    }
    EXPECT_LE(last.losses.size(), 6u) << "it began afresh";
    const auto [distance, parameter] =
        tiny::distance(tiny::whole(last, mesh->ranks()), expected.parameters, o);
    EXPECT_LE(distance, 1e-10) << parameter;
  }
}

TEST_F(SplitTest, AnEncoderThatDoesNotReachTheOthersIsNoticed) {
  auto o = options();
  o.encoders.length.steps = 5;
  o.fusion_stage.length.steps = 4;
  for (const int tensor : degrees_) {
    make_fit(tensor);
    const auto expected = oracle(o);
    Mesh mesh(*world_, tensor, tensor);
    for (const int owner : {0, mesh.layout.first_lab_row()}) {
      Deaf deaf(mesh.groups.data(), owner);
      const auto wrong = run(o, mesh.ranks(deaf), next());
      EXPECT_GT(deaf.heard(), 0) << "the other encoder was not sent either";
      const double distance =
          tiny::distance(tiny::whole(wrong, mesh.ranks()), expected.parameters, o).first;
      EXPECT_GT(distance, 1e-7) << "tensor " << tensor << ", from " << owner;
    }
  }
}

// The ranks of either kind write a share of the whole: what they write must be what the owners have.
TEST_F(SplitTest, ACheckpointWithoutTheOtherEncoderIsNoticed) {
  auto o = options();
  const auto expected = oracle(o);
  for (const bool text : {true, false}) {
    // One rank of the owners, which has their optimiser's states to write: their parameters are left to the others.
    Mesh mesh(*world_, 1, text ? world_->size() - 1 : 1);
    const int owner = text ? 0 : mesh.layout.first_lab_row();
    Deaf deaf(mesh.groups.data(), owner);
    const std::string name = next();
    EXPECT_THROW(run(o, mesh.ranks(deaf), name, 4, nullptr, 5), Killed);
    world_->barrier();
    const auto wrong = run(o, mesh.ranks(), name, 4);
    EXPECT_LT(wrong.losses.size(), 20u);
    EXPECT_GT(tiny::distance(wrong.parameters, expected.parameters, o).first, 1e-7) << "from " << owner;
  }
}

// Lab ranks alone see it, and all must leave together.
TEST_F(SplitTest, ALossThatIsNotFiniteEndsAllRanksAlike) {
  tiny::TempFolder folder;
  tiny::write_data(folder.path(), 19, [](data::Sample& sample) {
    for (auto& value : sample.labs) value *= std::numeric_limits<float>::infinity();
  });
  const data::PackedReader spoilt(folder.path());
  Mesh mesh(*world_, 1, 1);
  try {
    tiny::train(options(), spoilt, mesh.ranks(), std::filesystem::path(shared_) / next(), 0, {}, key_heads_);
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::numeric) << error.what();
    EXPECT_NE(std::string(error.what()).find("stage encoders, step 5: "), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("not finite 5 times in a row"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace medfuse::train
