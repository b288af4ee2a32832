// The arithmetic of a plan against figures found by hand, and its counts against the models themselves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/error.h"
#include "bench/tensor_meter.h"
#include "src/model/lora.h"
#include "src/model/medfuse_model.h"
#include "src/ops/dropout.h"
#include "src/ops/rms_norm.h"
#include "src/ops/rotary.h"
#include "src/ops/swiglu.h"
#include "src/plan/links.h"
#include "src/plan/report.h"
#include "src/plan/search.h"
#include "src/plan/small_models.h"
#include "src/plan/step.h"
#include "src/plan/text_ops.h"
#include "src/plan/text_shape.h"

namespace medfuse::plan {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

/// Round numbers: 1 TFLOP/s, 100 GB/s within a node of eight, 80 GB/s between nodes.
Machine machine() {
  Machine m;
  m.name = "round";
  m.memory_gib = 80;
  m.flops_f64 = m.flops_f32 = m.flops_bf16 = 1e12;
  m.memory_bandwidth = 1e12;
  m.node_bandwidth = 100e9;
  m.node_latency = 1e-6;
  m.network_bandwidth = 80e9;
  m.network_latency = 10e-6;
  return m;
}

Job llama_job(const std::string& shape) {
  Job job;
  job.machine = machine();
  job.options.text.model = "configs/shapes/" + shape;
  job.llama = weights::read_llama_config(job.options.text.model);
  job.options.precision = "bf16";
  return job;
}

/// Two blocks of width 64, eight heads, four key/value heads of width 8.
Job small_job() {
  Job job;
  job.machine = machine();
  job.llama.vocab_size = 100;
  job.llama.hidden_size = 64;
  job.llama.intermediate_size = 96;
  job.llama.num_hidden_layers = 2;
  job.llama.num_attention_heads = 8;
  job.llama.num_key_value_heads = 4;
  job.llama.head_dim = 8;
  job.options.text.lora.rank = 4;
  job.options.stages = {"encoders"};
  job.options.batch = 8;
  job.options.micro_batch = 8;
  job.tokens = 10;
  return job;
}

double sent(const Job& job, Flow flow) { return plan(job).stages.at(0).step.sent[static_cast<std::size_t>(flow)]; }

std::string message_of(const std::function<void()>& action, ExitCode code = ExitCode::usage) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.what();
  }
  ADD_FAILURE() << "nothing was refused";
  return {};
}

TEST(TextShape, CountsThePublishedModels) {
  EXPECT_EQ(published_parameters(llama_job("llama-3-8b").llama), 8'030'261'248);
  EXPECT_EQ(published_parameters(llama_job("llama-3-70b").llama), 70'553'706'496);
}

// Rank 16 in all seven projections of a block of Llama-3-8B, inputs and outputs 4096 wide but for 1024 (keys, values) and
// 14336 (inner): 16 * (2 * 8192 + 2 * 5120 + 3 * 18432) = 1,310,720.
TEST(TextShape, CountsAdapters) {
  Job job = llama_job("llama-3-8b");
  job.options.text.lora.rank = 16;
  EXPECT_EQ(text_shape(job).adapters(), 32 * 1'310'720);
  // Column parallel: A whole, half of B; row parallel: half of A, B whole.
  job.options.parallel.tensor = 2;
  EXPECT_EQ(text_shape(job).adapters(), 32 * 16 * (7 * 4096 + 2048 + 2 * 512 + 2048 + 3 * 7168));
  job.options.text.lora.targets = {"q_proj", "v_proj"};
  job.options.parallel.tensor = 1;
  job.options.text.lora.layers = "last:4";
  EXPECT_EQ(text_shape(job).adapters(), 4 * 16 * (8192 + 5120));
  EXPECT_EQ(text_shape(job).frozen, 28);
}

// Eight key/value heads on sixteen ranks: two neighbours share one.
TEST(TextShape, SharesKeyHeads) {
  Job job = llama_job("llama-3-70b");
  job.options.parallel.tensor = 16;
  const TextShape shape = text_shape(job);
  EXPECT_EQ(shape.heads, 4);
  EXPECT_EQ(shape.key_heads, 1);
  EXPECT_EQ(shape.projections[0][1].copies, 2);
  EXPECT_EQ(shape.block(), 2 * 8192 * 512 + 2 * 8192 * 128 + 3 * 8192 * 1792 + 2 * 8192);
}

TEST(TextShape, CountsWhatTheEncoderHolds) {
  for (const char* layers : {"all", "last:1"}) {
    Job job = small_job();
    job.options.text.lora.layers = layers;
    const TextShape shape = text_shape(job);
    const model::TextEncoder encoder(job.options.text, job.llama, at::kFloat, 1);
    std::int64_t adapters = 0, frozen = 0;
    for (const at::Tensor& parameter : encoder.parameters()) adapters += parameter.numel();
    for (const at::Tensor& weight : encoder.buffers()) frozen += weight.numel();
    EXPECT_EQ(shape.adapters(), adapters);
    EXPECT_EQ(shape.embedding() + shape.blocks * shape.block() + shape.width, frozen);
  }
}

TEST(SmallModels, AreCountedExactly) {
  for (const char* views : {"both", "text", "labs"}) {
    Job job = small_job();
    job.options.fusion.views = views;
    model::ModelOptions options;
    options.text = job.options.text;
    options.labs = job.options.labs;
    options.fusion = job.options.fusion;
    options.lab_columns = job.lab_columns;
    options.diseases = job.diseases;
    const model::MedfuseModel made(options, std::make_shared<model::TextEncoder>(options.text, job.llama, at::kFloat, 1));
    const auto count = [&](const std::vector<std::string>& prefixes) {
      std::int64_t sum = 0;
      for (const auto& [name, tensor] : made.trainable(prefixes)) sum += tensor.numel();
      return sum;
    };
    const SmallModels sizes = small_models(job);
    EXPECT_EQ(sizes.text_head, count({"text_head."})) << views;
    EXPECT_EQ(sizes.labs, count({"labs."})) << views;
    EXPECT_EQ(sizes.lab_encoder, count({"labs.embedding", "labs.cls_token", "labs.encoder"})) << views;
    EXPECT_EQ(sizes.fusion, count({"fusion."})) << views;
    EXPECT_EQ(sizes.estimator, made.estimator ? count({"estimator."}) : 0) << views;
  }
}

TEST(Links, RingBytes) {
  EXPECT_DOUBLE_EQ(sent_bytes(Collective::all_reduce, 8e9, 8), 14e9);
  EXPECT_DOUBLE_EQ(sent_bytes(Collective::reduce_scatter, 8e9, 8), 7e9);
  EXPECT_DOUBLE_EQ(sent_bytes(Collective::all_gather, 8e9, 8), 7e9);
  EXPECT_DOUBLE_EQ(sent_bytes(Collective::all_reduce, 8e9, 1), 0);
  EXPECT_THROW(sent_bytes(Collective::all_reduce, 1, 0), std::logic_error);
}

TEST(Links, SecondsWithinANodeAndBetween) {
  const Link near = data_link(machine(), {1, 8, 1});
  EXPECT_DOUBLE_EQ(near.seconds(Collective::all_reduce, 8e9), 2 * 7e-6 + 14e9 / 100e9);
  EXPECT_DOUBLE_EQ(near.seconds(Collective::all_gather, 8e9), 7e-6 + 7e9 / 100e9);
  // Four nodes, one group: the whole network of a node is its own, and a tree of two levels joins the nodes.
  const Link far = data_link(machine(), {4, 8, 1});
  EXPECT_EQ(far.ranks, 32);
  EXPECT_DOUBLE_EQ(far.bandwidth, 80e9);
  EXPECT_DOUBLE_EQ(far.seconds(Collective::all_reduce, 0), 2 * (7e-6 + 2 * 10e-6));
  EXPECT_DOUBLE_EQ(far.seconds(Collective::all_gather, 0), 28e-6 + 3 * 10e-6);  // once round
  // Two ranks to a model: two data groups share it. Eight: each group has one rank on a node and an eighth of the network.
  EXPECT_DOUBLE_EQ(data_link(machine(), {4, 8, 2}).bandwidth, 40e9);
  EXPECT_DOUBLE_EQ(data_link(machine(), {4, 8, 8}).bandwidth, 10e9);
  EXPECT_DOUBLE_EQ(tensor_link(machine(), {4, 8, 8}).bandwidth, 100e9);
  EXPECT_DOUBLE_EQ(tensor_link(machine(), {4, 8, 16}).bandwidth, 80e9);
  EXPECT_EQ(tensor_link(machine(), {4, 8, 16}).nodes, 2);
  // Groups of four on nodes of six: every other one lies on two nodes.
  EXPECT_EQ(tensor_link(machine(), {2, 6, 4}).nodes, 2);
  // Of the split layout: five text groups of two on three nodes of four, two lab ranks that are neighbours.
  EXPECT_EQ(data_link(machine(), {3, 4, 2}, 5).nodes, 3);
  EXPECT_DOUBLE_EQ(data_link(machine(), {3, 4, 2}, 5).bandwidth, 40e9);
  EXPECT_EQ(neighbours_link(machine(), {3, 4, 2}, 2).nodes, 1);
}

TEST(Ledger, RemembersItsPeak) {
  Ledger ledger;
  Held first = ledger.hold(Item::weights, 100);
  {
    const Held second = ledger.hold(Item::working, 50);
    const Held same = second;
    EXPECT_EQ(ledger.now(), 150);
  }
  EXPECT_EQ(ledger.now(), 100);
  first.reset();
  EXPECT_EQ(ledger.now(), 0);
  EXPECT_EQ(ledger.peak(), 150);
  EXPECT_EQ(ledger.at_peak()[static_cast<std::size_t>(Item::working)], 50);
}

TEST(Plan, GradientsTravelAsTheLevelSays) {
  Job job = small_job();
  job.per_node = 4;
  job.options.parallel.bucket_mib = 100;
  // 4 bytes of: adapters 4 * (2 blocks) * (2 * 128 + 2 * 96 + 3 * 160), head, labs; padded to the four ranks.
  const SmallModels small = small_models(job);
  const auto padded = [](std::int64_t n) { return static_cast<double>(4 * ((n + 3) / 4 * 4)); };
  const std::int64_t text = 4 * 2 * (2 * 128 + 2 * 96 + 3 * 160) + small.text_head;
  EXPECT_DOUBLE_EQ(sent(job, Flow::gradients), 1.5 * 4 * static_cast<double>(text + small.labs));
  EXPECT_EQ(sent(job, Flow::parameters), 0);
  job.options.parallel.zero = 1;
  EXPECT_DOUBLE_EQ(sent(job, Flow::gradients), 0.75 * (padded(text) + padded(small.labs)));
  EXPECT_DOUBLE_EQ(sent(job, Flow::parameters), 0.75 * (padded(text) + padded(small.labs)));
  // Two samples on a rank, one at a time: twice for the text encoder, once for the labs.
  job.options.micro_batch = 1;
  EXPECT_DOUBLE_EQ(sent(job, Flow::gradients), 0.75 * (padded(text) + padded(small.labs)));
  job.options.parallel.zero = 2;
  EXPECT_DOUBLE_EQ(sent(job, Flow::gradients), 0.75 * (2 * padded(text) + padded(small.labs)));
  EXPECT_EQ(sent(job, Flow::weights), 0);
}

// A pass gathers the embedding and both blocks on the way forth, and the lower block on the way back, where it stays for
// the next pass of the step; behind the update of the adapters nothing stays.
TEST(Plan, ZeroThreeGathersUnits) {
  Job job = small_job();
  job.per_node = 4;
  job.options.parallel.zero = 3;
  const TextShape shape = text_shape(job);
  std::int64_t adapters = 0;
  for (const std::int64_t elements : shape.adapters_of(0)) adapters += (elements + 63) / 64 * 64;
  ASSERT_GT(adapters, 0);
  ASSERT_EQ(shape.adapters_of(0), shape.adapters_of(1));
  const double embedding = 4.0 * static_cast<double>(shape.embedding());
  const double block = 4.0 * static_cast<double>(shape.block() + adapters);
  EXPECT_DOUBLE_EQ(sent(job, Flow::weights), 0.75 * (embedding + 3 * block));
  job.options.micro_batch = 1;
  EXPECT_DOUBLE_EQ(sent(job, Flow::weights), 0.75 * (2 * embedding + 5 * block));
}

// By hand, for one pass of 8 texts of 10 tokens and rank 4; t = 2: an all-reduce sends as much as the tensor.
TEST(Plan, TensorGroupsSum) {
  Job job = small_job();
  job.per_node = 2;
  job.options.parallel.tensor = 2;
  const double rows = 80, last = 8, width = 64, rank = 4;
  const double forth = 2 * rows * width + 2 * last * width;  // output and down projection of both blocks
  const double upper = last * (width + 2 * rank) +           // gate and up
                       last * (width + rank) +               // query
                       rows * (width + 2 * rank);            // key and value
  const double lower = rows * (width + 2 * rank) + rows * 3 * rank;  // the first block's input has no gradient
  const double factors = 2 * 2 * width * rank;                       // B of output and down, in both
  EXPECT_DOUBLE_EQ(sent(job, Flow::tensor), 4 * (forth + upper + lower + factors));
  // Recomputation runs the first block's sums, and the last one's, again.
  job.options.recompute = "full";
  EXPECT_DOUBLE_EQ(sent(job, Flow::tensor), 4 * (2 * forth + upper + lower + factors));
}

// Four tensor groups, one for the labs: a text rank has a third of the samples, and its adapters' gradients are summed over
// three; the two lab ranks divide the labs' samples.
TEST(Plan, CrewsOfTheSplitLayout) {
  Job job = small_job();
  job.per_node = 8;
  job.options.batch = 12;
  job.options.parallel.tensor = 2;
  job.options.parallel.layout = "split";
  job.options.parallel.lab_ranks = 2;
  const Plan planned = plan(job);
  ASSERT_EQ(planned.stages.size(), 2u);
  const StagePlan &text = planned.stages[0], &labs = planned.stages[1];
  EXPECT_EQ(text.title(), "encoders, text");
  EXPECT_EQ(labs.title(), "encoders, labs");
  EXPECT_EQ(text.ranks, 6);
  EXPECT_EQ(labs.ranks, 2);
  const auto gradients = [](const StagePlan& s) { return s.step.sent[static_cast<std::size_t>(Flow::gradients)]; };
  const SmallModels small = small_models(job);
  const auto adapters = static_cast<double>(text_shape(job).adapters());
  EXPECT_DOUBLE_EQ(gradients(text), 4.0 / 3 * 4 * (adapters + static_cast<double>(small.text_head)));
  EXPECT_DOUBLE_EQ(gradients(labs), 4 * static_cast<double>(small.labs));
  // Both take the step's time, and the quicker one waits.
  EXPECT_DOUBLE_EQ(text.seconds(), labs.seconds());
  EXPECT_DOUBLE_EQ(planned.seconds(), std::max(text.step.seconds, labs.step.seconds));
  EXPECT_EQ(std::min(text.idle, labs.idle), 0);
  EXPECT_GT(std::max(text.idle, labs.idle), 0);
  EXPECT_THAT(headline(job), HasSubstr("encoder stage: 3 data x 2 tensor for the text, on a rank 4 in 1 micro-batch of 4; 2 for "
                                       "the labs, on a rank 6 of 12"));
}

TEST(Plan, StatesAreSharedByLevel) {
  Job job = llama_job("llama-3-8b");
  job.per_node = 8;
  job.options.micro_batch = 1;  // of four: at the peak the gradients of earlier ones are there
  const auto held = [&](std::int64_t zero, Item item) {
    job.options.parallel.zero = zero;
    return static_cast<double>(plan(job).largest().peak[static_cast<std::size_t>(item)]);
  };
  const double weights = held(0, Item::weights), moments = held(0, Item::moments), gradients = held(0, Item::gradients);
  EXPECT_EQ(held(1, Item::weights), weights);
  EXPECT_NEAR(held(1, Item::moments), moments / 8, 1e3);
  EXPECT_NEAR(held(1, Item::gradients), gradients, 0.01 * gradients);
  // The shard so far, and what the last pass has added to it when memory is at its peak.
  EXPECT_GT(held(2, Item::gradients), gradients / 8 - 1e3);
  EXPECT_LT(held(2, Item::gradients), 2 * gradients / 8 + 1e3);
  EXPECT_NEAR(held(3, Item::weights), weights / 8, 1e5);
  EXPECT_GT(held(3, Item::gathered), 0);
}

TEST(Plan, RecomputationBuysMemoryWithTime) {
  Job job = llama_job("llama-3-8b");
  const auto planned = [&](const char* mode) {
    job.options.recompute = mode;
    return plan(job);
  };
  const Plan none = planned("none"), attention = planned("attention"), full = planned("full");
  EXPECT_GT(none.largest().peak_bytes, attention.largest().peak_bytes);
  EXPECT_GT(attention.largest().peak_bytes, full.largest().peak_bytes);
  EXPECT_LT(none.slowest().step.seconds, attention.slowest().step.seconds);
  EXPECT_LT(attention.slowest().step.seconds, full.slowest().step.seconds);
}

// A weight matrix costs 2 FLOP an element and row forth and, being frozen, as many back.
TEST(Plan, CountsProducts) {
  Job job = llama_job("llama-3-8b");
  job.options.stages = {"encoders"};
  job.options.batch = job.options.micro_batch = 4;
  job.options.text.lora.layers = "0";  // gradients reach the lowest block, but few adapters count
  const double flops = plan(job).stages[0].step.flops;
  const double rows = 4.0 * static_cast<double>(job.tokens);
  const auto shape = text_shape(job);
  const double expected = 4 * rows * static_cast<double>(shape.block()) * 31;
  EXPECT_NEAR(flops / expected, 1, 0.05);
}

TEST(Plan, TravelIsHiddenBehindTheBackwardPass) {
  Job job = llama_job("llama-3-8b");
  job.per_node = 8;
  job.options.batch = 64;
  job.options.stages = {"encoders"};
  const auto waited = [](const Job& j) {
    return plan(j).stages[0].step.waited[static_cast<std::size_t>(Flow::gradients)];
  };
  const double all = data_link(job.machine, job.placement()).seconds(Collective::all_reduce, 4 * 42e6);
  EXPECT_GT(waited(job), 0);  // the last bucket, at least
  EXPECT_LT(waited(job), all / 2);
  Job slow = job;
  slow.machine.node_bandwidth = 1e5;
  const double slowly = data_link(slow.machine, slow.placement()).seconds(Collective::all_reduce, 4 * 42e6);
  EXPECT_GT(waited(slow), 0.9 * slowly);
}

TEST(Plan, RefusesMeshesThatCannotBe) {
  Job job = llama_job("llama-3-8b");
  job.nodes = 0;
  EXPECT_THAT(message_of([&] { plan(job); }), HasSubstr("--nodes 0"));
  job.nodes = 1;
  job.per_node = 6;
  job.options.parallel.tensor = 3;
  EXPECT_THAT(message_of([&] { plan(job); }), EndsWith("degrees that work: 1, 2"));
  job.options.parallel.tensor = 4;
  EXPECT_THAT(message_of([&] { plan(job); }), HasSubstr("parallel.tensor"));
  job.per_node = 2;
  job.nodes = 2;  // four ranks, but a group of four would leave its node
  EXPECT_THAT(message_of([&] { plan(job); }), HasSubstr("across_nodes"));
  job.options.parallel.across_nodes = true;
  EXPECT_NO_THROW(plan(job));
  Job split = job;
  split.options.parallel.layout = "split";
  EXPECT_THAT(message_of([&] { plan(split); }), HasSubstr("split needs at least 8 ranks"));
  split.options.parallel.tensor = 1;
  split.options.parallel.lab_ranks = 4;
  EXPECT_THAT(message_of([&] { plan(split); }), HasSubstr("numbers that work: 1 to 3"));
  job.options.text.layers = 33;
  EXPECT_THAT(message_of([&] { plan(job); }), HasSubstr("text.layers"));
  EXPECT_THAT(message_of([] { weights::read_llama_config("configs/shapes/none"); }, ExitCode::data),
              HasSubstr("config.json"));
}

TEST(Machine, RefusesImpossibleNumbers) {
  Machine m = machine();
  m.flops_bf16 = 0;
  EXPECT_THAT(message_of([&] { check(m, "m.cfg"); }), HasSubstr("m.cfg: flops.bf16 = 0"));
  m = machine();
  m.matmul_share = 1.5;
  EXPECT_THAT(message_of([&] { check(m, "m.cfg"); }), HasSubstr("flops.attainable"));
  m = machine();
  m.memory_bandwidth = 3.35;  // TB/s?
  EXPECT_THAT(message_of([&] { check(m, "m.cfg"); }), HasSubstr("m.cfg: memory_bandwidth = 3.35 is less than 1e6 bytes/s"));
  m = machine();
  m.slack = std::nan("");
  EXPECT_THAT(message_of([&] { check(m, "m.cfg"); }), HasSubstr("m.cfg: slack is missing"));
}

TEST(Search, TheFastestFitsAndOthersAreExplained) {
  Job job = llama_job("llama-3-70b");
  job.per_node = 4;
  const Search found = search(job);
  ASSERT_FALSE(found.best.empty());
  bool any_split = false;
  for (std::size_t i = 0; i < found.best.size(); ++i) {
    const Candidate &one = found.best[i], &before = found.best[i == 0 ? 0 : i - 1];
    EXPECT_LE(one.bytes, 80 * 0x1p30);
    EXPECT_GE(tight(one, job.machine), tight(before, job.machine));
    if (tight(one, job.machine) == tight(before, job.machine)) {
      EXPECT_GE(one.plan.seconds(), before.plan.seconds());
    }
    any_split = any_split || one.choice.lab_ranks;
  }
  EXPECT_TRUE(any_split);
  // 139 GB of weights fit nowhere whole.
  const auto whole = std::find_if(found.refusals.begin(), found.refusals.end(),
                                  [](const Refusal& r) { return r.tensor == 1 && r.zero == 0; });
  ASSERT_NE(whole, found.refusals.end());
  EXPECT_THAT(whole->reason, HasSubstr("needs at least 13"));
}

TEST(Search, BalancesTheTwoEncoders) {
  Job job = small_job();
  job.per_node = 8;
  job.options.batch = 56;
  job.tokens = 200;
  const auto lab_ranks_of_the_best_split = [&] {
    for (const Candidate& candidate : search(job).best) {
      if (candidate.choice.lab_ranks && candidate.choice.tensor == 1) return *candidate.choice.lab_ranks;
    }
    return std::int64_t{0};
  };
  const std::int64_t few = lab_ranks_of_the_best_split();
  job.options.encoders.lab_batch = 8 * job.options.batch;
  const std::int64_t many = lab_ranks_of_the_best_split();
  EXPECT_GT(few, 0);
  EXPECT_GT(many, few);
  // The number that it found leaves neither waiting long.
  job.options.parallel.layout = "split";
  job.options.parallel.lab_ranks = many;
  const Plan planned = plan(job);
  EXPECT_LT(planned.stages[0].idle + planned.stages[1].idle, 0.5 * planned.stages[0].seconds()) << few << ", " << many;
}

TEST(Search, SaysWhichChangeIsEnough) {
  Job job = llama_job("llama-3-8b");
  job.options.batch = job.options.micro_batch = 32;
  const Plan planned = plan(job);
  EXPECT_FALSE(planned.fits(job.machine));
  const auto change = smallest_change(job);
  ASSERT_TRUE(change);
  EXPECT_TRUE(plan(with(job, change->choice)).fits(job.machine));
  Job split = with(job, {.tensor = 2, .lab_ranks = 4});
  EXPECT_EQ(difference(choice_of(job), {.lab_ranks = 2, .micro_batch = 32}),
            "parallel.layout = split, parallel.lab_ranks = 2");
  split.per_node = 8;
  EXPECT_EQ(choice_of(split).lab_ranks, 4);
  EXPECT_EQ(difference(choice_of(split), {.tensor = 2}), "parallel.layout = interleaved");
  const std::string words = difference(choice_of(job), change->choice);
  EXPECT_EQ(words.find(','), std::string::npos) << "one change is enough: " << words;
  EXPECT_THAT(refusal(job, planned), HasSubstr("with " + words));

  Job hopeless = llama_job("llama-3-70b");
  EXPECT_FALSE(smallest_change(hopeless));
  EXPECT_THAT(refusal(hopeless, plan(hopeless)), HasSubstr("no mesh of these 1 ranks fits"));
}

TEST(Report, ScalesOnlyWhatFits) {
  Job job = llama_job("llama-3-70b");
  const std::string weak = scaling_table(job, "llama-3-70b", Scaling::weak, 2, {1, 16});
  EXPECT_THAT(weak, HasSubstr("2 samples of 512 tokens for each GPU"));
  EXPECT_THAT(weak, HasSubstr("     1  does not fit: at least 133.73 GiB"));
  EXPECT_THAT(weak, HasSubstr("\n      16 "));
  EXPECT_THAT(weak, HasSubstr("100%"));  // sixteen are the fewest that fit here
}

TEST(Report, ItemsAddUpToTheSum) {
  Job job = llama_job("llama-3-8b");
  job.per_node = 8;
  for (const StagePlan& stage : plan(job).stages) {
    std::int64_t sum = 0;
    for (const std::int64_t bytes : stage.peak) sum += bytes;
    EXPECT_EQ(sum, stage.peak_bytes) << stage.name;
  }
}

/// Bytes that stay behind after a forward operation with a graph, and the most there was meanwhile, inputs not counted.
struct Use {
  double kept = 0;
  double peak = 0;
};

Use use_of(const std::function<at::Tensor()>& operation) {
  bench::TensorMeter& meter = bench::TensorMeter::instance();
  const std::int64_t before = meter.now();
  meter.restart();
  const at::Tensor result = operation();
  return {static_cast<double>(meter.now() - before), static_cast<double>(meter.peak() - before)};
}

// What runs on a GPU are compositions of LibTorch's operations. What they keep does not depend on the device, so the plan's
// account of them can be checked here: with float16, which has no kernels on a CPU, in the place of bfloat16.
TEST(DeviceOperations, KeepWhatThePlanSays) {
  for (const std::string precision : {"bf16"}) {
    bench::TensorMeter::instance();
    Job job = small_job();
    job.options.precision = precision;
    job.machine.cuda = true;
    const std::int64_t rows = 512;
    const TextShape shape = text_shape(job);
    const at::TensorOptions type = at::TensorOptions(at::kHalf);
    const auto planned = [&](auto&& operation) {
      Rehearsal r(job, crews(job, "encoders").front());
      TextOps ops(r, job, shape);
      Kept kept;
      const Held result = operation(r, ops, kept);
      return Use{static_cast<double>(r.memory().now()), static_cast<double>(r.memory().peak())};
    };
    const auto compare = [&](const char* what, const Use& expected, const Use& found) {
      EXPECT_NEAR(expected.kept / found.kept, 1, 0.02) << what << ", " << precision;
      EXPECT_NEAR(expected.peak / found.peak, 1, 0.10) << what << ", " << precision;
    };

    const at::Tensor x = at::randn({rows, shape.width}, type).requires_grad_();
    const at::Tensor weight = at::ones({shape.width}, type);
    compare("norm", planned([&](Rehearsal&, TextOps& ops, Kept& kept) {
              return ops.norm(nullptr, rows, Item::attention, &kept);
            }),
            use_of([&] { return ops::rms_norm(x, weight, 1e-5); }));

    const at::Tensor gate = at::randn({rows, shape.inner}, type).requires_grad_();
    const at::Tensor up = at::randn({rows, shape.inner}, type).requires_grad_();
    compare("swiglu", planned([&](Rehearsal&, TextOps& ops, Kept& kept) {
              return ops.swiglu({nullptr, nullptr}, rows, &kept);
            }),
            use_of([&] { return ops::swiglu(gate, up); }));

    const at::Tensor q = at::randn({rows, shape.heads, shape.head_dim}, type).requires_grad_();
    const at::Tensor angles = at::rand({rows, shape.head_dim / 2});
    compare("rotary", planned([&](Rehearsal&, TextOps& ops, Kept&) {
              return ops.rotate(rows, shape.queries(), Item::attention);
            }),
            use_of([&] { return ops::rotary_plain(q, angles, angles); }));
  }
}

}  // namespace
}  // namespace medfuse::plan
