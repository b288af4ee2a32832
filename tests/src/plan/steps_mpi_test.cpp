// The predicted peak of tensors, and what collectives move, against a real training step of each stage on a Llama of
// four blocks whose states take more memory than its weights, for every mesh of the ranks there are.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>

#include "bench/tensor_meter.h"
#include "cluster/mesh.h"
#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "src/plan/step.h"
#include "tests/src/plan/counting_communicator.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::plan {
namespace {

constexpr std::int64_t kTokens = 96;
constexpr double kMemoryTolerance = 0.1;
constexpr double kTrafficTolerance = 0.02;
constexpr double kUncounted = 64;  // bytes of a few numbers that ranks tell each other over host groups

/// Samples with texts of one length, which is what a plan assumes.
void write_data(const std::filesystem::path& folder) {
  namespace tiny = train::tiny;
  data::PackedIndex index;
  data::PackedInfo& info = index.info;
  for (std::int64_t k = 0; k < tiny::diseases; ++k) info.diseases.push_back("disease" + std::to_string(k));
  for (std::int64_t c = 0; c < tiny::lab_columns; ++c) info.labs.push_back({c, "lab" + std::to_string(c), "u", 0.0, 1.0});
  info.tokenizer = "none";
  info.tokenizer_fingerprint = "0000000000000000";
  info.vocabulary = tiny::vocabulary;
  info.max_tokens = kTokens;
  info.lab_value = "last";
  info.samples = 60;
  std::vector<data::Sample> all;
  for (std::int64_t i = 0; i < info.samples; ++i) {
    data::Sample sample;
    sample.admission = 1000 + i;
    sample.patient = i;
    sample.tokens.assign(kTokens, static_cast<int>(i % tiny::vocabulary));
    sample.observed.assign(tiny::lab_columns, true);
    sample.labs.assign(tiny::lab_columns, 0.5f);
    sample.labels.assign(tiny::diseases, i % 2 == 0);
    all.push_back(std::move(sample));
  }
  index.shards.push_back(data::write_shard(folder, 0, info, all));
  data::write_index(folder, index);
}

/// SmolLM2-135M in proportion, with heads that two and three ranks can share.
weights::LlamaConfig llama() {
  weights::LlamaConfig config;
  config.vocab_size = 500;
  config.hidden_size = 192;
  config.intermediate_size = 512 * 3 / 2;
  config.num_hidden_layers = 4;
  config.num_attention_heads = 12;
  config.num_key_value_heads = 6;
  config.head_dim = 16;
  config.max_position_embeddings = 512;
  return config;
}

train::TrainOptions base_options() {
  train::TrainOptions o;
  o.batch = 24;
  o.micro_batch = 6;
  o.labs = {.width = 16, .encoder_layers = 1, .decoder_layers = 1, .heads = 2, .mask_ratio = 0.5, .dropout = 0.1};
  o.fusion.width = 16;
  o.fusion.heads = 2;
  o.fusion.estimator_width = 16;
  o.encoders.length = {.steps = 10, .epochs = 0};
  o.fusion_stage.length = {.steps = 10, .epochs = 0};
  o.fusion_stage.estimator_steps = 1;
  o.parallel.bucket_mib = 0.5;
  return o;
}

class StepsTest : public testing::Test {
 protected:
  void SetUp() override {
    bench::TensorMeter::instance();
    static cluster::Process process;
    world_ = cluster::make_mpi_communicator(process);
    write_data(folder_.path());
    reader_ = std::make_unique<data::PackedReader>(folder_.path());
  }

  struct Measured {
    std::size_t crew = 0;     ///< of this rank, in the order of the plan's
    double peak = 0;          ///< bytes of tensors, with all that stands on the rank
    double data_bytes = 0;    ///< sent in a step over the data group and what it is divided into
    double tensor_bytes = 0;  ///< over the tensor group
  };

  Measured measured(const train::TrainOptions& o, const std::string& stage_name) {
    const std::int64_t before = bench::TensorMeter::instance().now();
    const std::vector<std::string> hosts(static_cast<std::size_t>(world_->size()), "here");
    cluster::MeshOptions shape{.tensor = static_cast<int>(o.parallel.tensor)};
    if (o.parallel.layout == "split") shape.lab_ranks = static_cast<int>(o.parallel.lab_ranks);
    const cluster::MeshLayout layout = cluster::lay_out_mesh(hosts, shape);
    const cluster::MeshGroups groups(*world_, layout);
    Measured result;
    CountingCommunicator data(groups.data(), result.data_bytes), tensor(groups.tensor(), result.tensor_bytes),
        task(groups.task(), result.data_bytes);
    train::Ranks ranks(groups.data(), data, groups.world(), groups.tensor(), tensor);
    if (layout.lab_rows > 0) ranks.split.emplace(groups.task(), task, layout.first_lab_row());
    result.crew = ranks.trains_text() ? 0 : 1;
    if (o.parallel.zero == 3) ranks.shards = train::make_shards(ranks);
    auto text = std::make_shared<model::TextEncoder>(o.text, llama(), model::compute_type(o.precision), o.seed,
                                                     train::tensor_parallel(tensor, o.parallel.sequence),
                                                     train::weight_store(ranks));
    text->cache_frozen_states(o.text_cache_mib << 20);
    model::MedfuseModel model(train::model_options(o, reader_->info()), text);
    std::unique_ptr<train::Stage> stage;
    if (stage_name == "encoders") stage = std::make_unique<train::EncodersStage>(o, model, *reader_, ranks);
    else stage = std::make_unique<train::FusionStage>(o, model, *reader_, ranks);
    stage->enter();
    bench::TensorMeter::instance().restart();
    if (o.parallel.zero == 3) stage->step(0);  // leaves a unit of the weights there for the next
    result.data_bytes = result.tensor_bytes = 0;
    stage->step(1);
    result.peak = static_cast<double>(bench::TensorMeter::instance().peak() - before);
    return result;
  }

  Job job(const train::TrainOptions& o) const {
    Job result;
    result.options = o;
    result.llama = llama();
    result.tokens = kTokens;
    result.lab_columns = train::tiny::lab_columns;
    result.diseases = train::tiny::diseases;
    result.machine.cuda = false;
    result.machine.flops_f32 = result.machine.flops_f64 = result.machine.flops_bf16 = 1e11;
    result.machine.memory_bandwidth = result.machine.node_bandwidth = result.machine.network_bandwidth = 1e10;
    result.per_node = world_->size();
    return result;
  }

  void compare(const train::TrainOptions& o) {
    for (const char* stage : {"encoders", "fusion"}) {
      auto one = o;
      one.stages = {stage};
      const Plan predicted = plan(job(one));
      const Measured found = measured(o, stage);
      const StagePlan& expected = predicted.stages[std::min(found.crew, predicted.stages.size() - 1)];
      const std::string what = fmt::format(
          "{} data x {} tensor{}, {} for labs, zero {}, recompute {}, {}, micro-batch {}, {}",
          world_->size() / o.parallel.tensor, o.parallel.tensor, o.parallel.sequence ? " (sequence)" : "",
          o.parallel.lab_ranks, o.parallel.zero, o.recompute, o.precision, o.micro_batch, expected.title());
      const double error = static_cast<double>(expected.peak_bytes) / found.peak - 1;
      const auto sent = [&](Flow flow) { return expected.step.sent[static_cast<std::size_t>(flow)]; };
      double data_bytes = -sent(Flow::tensor);
      for (const double bytes : expected.step.sent) data_bytes += bytes;
      if (world_->rank() == 0 || (found.crew == 1 && world_->rank() == world_->size() - 1)) {
        std::printf("%-108s measured %7.2f MiB, predicted %7.2f (%+.1f %%); sent %.3f + %.3f MiB, predicted %.3f + %.3f\n",
                    what.c_str(), found.peak / 0x1p20, static_cast<double>(expected.peak_bytes) / 0x1p20, 100 * error,
                    found.data_bytes / 0x1p20, found.tensor_bytes / 0x1p20, data_bytes / 0x1p20,
                    sent(Flow::tensor) / 0x1p20);
      }
      EXPECT_LE(std::abs(error), kMemoryTolerance) << what;
      EXPECT_NEAR(data_bytes, found.data_bytes, kTrafficTolerance * found.data_bytes + kUncounted) << what;
      EXPECT_NEAR(sent(Flow::tensor), found.tensor_bytes, kTrafficTolerance * found.tensor_bytes) << what;
    }
  }

  train::tiny::TempFolder folder_;
  std::unique_ptr<cluster::Communicator> world_;
  std::unique_ptr<data::PackedReader> reader_;
};

TEST_F(StepsTest, EveryMeshAndLevelIsPredicted) {
  for (const std::int64_t tensor : {1, 2, 3}) {
    if (world_->size() % tensor != 0) continue;
    for (const bool sequence : {false, true}) {
      if (sequence && tensor == 1) continue;
      const std::int64_t levels = world_->size() > tensor ? 3 : 0;
      for (std::int64_t zero = 0; zero <= levels; ++zero) {
        for (int mode = 0; mode < 3; ++mode) {
          if (world_->size() == 6 && mode != (zero + sequence) % 3) continue;  // six ranks on few cores take their time
          const char* recompute = std::array{"none", "attention", "full"}[static_cast<std::size_t>(mode)];
          auto o = base_options();
          o.parallel.tensor = tensor;
          o.parallel.sequence = sequence;
          o.parallel.zero = zero;
          o.recompute = recompute;
          compare(o);
        }
      }
    }
  }
}

TEST_F(StepsTest, EitherCrewOfTheSplitLayoutIsPredicted) {
  for (const std::int64_t tensor : {1, 2, 3}) {
    if (world_->size() % tensor != 0) continue;
    for (std::int64_t lab_ranks = tensor; lab_ranks < world_->size(); lab_ranks += tensor) {
      auto o = base_options();
      o.parallel.layout = "split";
      o.parallel.tensor = tensor;
      o.parallel.lab_ranks = lab_ranks;
      // A plan is of the rank that has most: here all of a crew have as many samples.
      if (o.batch % (world_->size() - lab_ranks) != 0 || o.batch % lab_ranks != 0) continue;
      for (o.parallel.zero = 0; o.parallel.zero <= 3; ++o.parallel.zero) {
        o.parallel.sequence = tensor > 1 && o.parallel.zero % 2 == 1;
        o.recompute = o.parallel.zero == 2 ? "full" : "none";
        compare(o);
      }
    }
  }
}

/// Beside a text encoder as small as this one the other models are what is seen.
TEST_F(StepsTest, LargeSmallModelsArePredicted) {
  for (const char* recompute : {"none", "attention", "full"}) {
    auto o = base_options();
    o.recompute = recompute;
    o.micro_batch = 1;
    o.labs.width = 64;
    o.labs.heads = 4;
    o.labs.encoder_layers = 4;
    o.labs.decoder_layers = 2;
    o.encoders.lab_batch = 240 * world_->size();
    compare(o);
    if (world_->size() == 1) continue;
    o.parallel.layout = "split";
    o.parallel.lab_ranks = world_->size() / 2;
    if (o.batch % (world_->size() - o.parallel.lab_ranks) != 0) continue;
    o.encoders.lab_batch = 240 * o.parallel.lab_ranks;
    compare(o);
    o.labs.width = 32;
    o.labs.encoder_layers = 6;
    o.labs.decoder_layers = 4;
    o.encoders.lab_batch = 1200 * o.parallel.lab_ranks;
    compare(o);
  }
  auto o = base_options();
  o.fusion.estimator_width = 512;
  o.fusion_stage.estimator_steps = 5;
  compare(o);
  o = base_options();
  o.fusion.width = 64;
  o.fusion.tokens = 8;
  compare(o);
  for (const char* views : {"text", "labs"}) {
    o = base_options();
    o.fusion.views = views;
    compare(o);
  }
}

TEST_F(StepsTest, OtherTypesBatchesAndAdaptersArePredicted) {
  for (const char* precision : {"bf16", "f64"}) {
    auto o = base_options();
    o.precision = precision;
    compare(o);
    if (world_->size() == 1) continue;
    o.parallel.zero = 3;
    compare(o);
    if (world_->size() % 2 != 0) continue;
    o.parallel.tensor = 2;
    o.parallel.zero = world_->size() > 2 ? 2 : 0;
    o.parallel.sequence = true;
    compare(o);
  }
  for (const std::int64_t zero : {0, 1, 2, 3}) {
    if (world_->size() == 1) continue;
    auto o = base_options();
    o.parallel.zero = zero;
    o.parallel.reduce_dtype = zero % 2 == 0 ? "bf16" : "f64";
    compare(o);
    o.parallel.reduce_dtype = "auto";
    o.text.lora.layers = "last:2";
    o.micro_batch = 1;
    compare(o);
  }
  auto o = base_options();
  o.micro_batch = 24;  // one pass
  compare(o);
  o.micro_batch = 1;
  compare(o);
  o = base_options();
  o.text.lora.layers = "last:2";
  compare(o);
  o.text.lora.layers = "0-1";
  compare(o);
  o = base_options();
  o.text.lora.targets = {"q_proj", "v_proj"};
  o.text.lora.dropout = 0;
  compare(o);
  o.fusion_stage.encoder_factor = 0;
  compare(o);
}

}  // namespace
}  // namespace medfuse::plan
