// The loss on the disease labels against loops, and the loss of a fusion step against its parts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "src/train/batch.h"
#include "src/train/feed.h"
#include "src/train/stage_parts.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

/// -[y log p + (1 - y) log(1 - p)] over all decisions.
double cross_entropy_sum(const at::Tensor& logits_BK, const at::Tensor& labels_BK) {
  double sum = 0;
  for (std::int64_t b = 0; b < logits_BK.size(0); ++b) {
    for (std::int64_t k = 0; k < logits_BK.size(1); ++k) {
      const double p = 1 / (1 + std::exp(-logits_BK[b][k].item<double>()));
      sum -= labels_BK[b][k].item<double>() > 0.5 ? std::log(p) : std::log(1 - p);
    }
  }
  return sum;
}

TEST(LabelLoss, EqualsALoop) {
  torch::manual_seed(3);
  const at::Tensor logits_BK = 3 * torch::randn({7, 10}, torch::kFloat64);
  const at::Tensor labels_BK = torch::randint(0, 2, {7, 10}, torch::kFloat64);
  EXPECT_NEAR(label_loss_sum(logits_BK, labels_BK).item<double>(), cross_entropy_sum(logits_BK, labels_BK), 1e-10);
}

TEST(LabelLoss, AFusionStepReportsTheMeanAndAddsTheWeightedBound) {
  static cluster::Process process;
  const auto world = cluster::make_mpi_communicator(process);
  const tiny::TempFolder folder;
  tiny::write_data(folder.path());
  const data::PackedReader reader(folder.path());
  auto options = tiny::options("f64");
  options.text.lora.dropout = options.labs.dropout = options.fusion.dropout = 0;
  options.micro_batch = 2;
  const auto model = tiny::make_model(options, reader.info());

  Feed feed(reader, options.seed, "fusion", options.batch, options.micro_batch, 0, 1);
  double sum = 0;
  for (const auto& draws : feed.micro_batches(0)) {
    const torch::NoGradGuard no_grad;
    const Batch batch = make_batch(reader, draws, options.seed, "fusion", model->state_type(), at::kCPU, {});
    const auto labs = model->labs->encode(batch.labs_BC, batch.observed_BC);
    const auto output =
        model->fusion->forward(model->embed(batch.tokens_BL, batch.lengths_B), labs.tokens_BTW, labs.mask_BT);
    sum += cross_entropy_sum(output.logits_BK, batch.labels_BK);
  }
  const double mean = sum / static_cast<double>(options.batch * tiny::diseases);

  FusionStage stage(options, *model, reader, {*world, *world});
  const StepReport report = stage.step(0);
  double prediction = 0, bound = 0;
  for (const auto& [name, value] : report.other_shares) {
    if (name == "prediction_loss") prediction = value;
    if (name == "mutual_information") bound = value;
  }
  EXPECT_NEAR(prediction, mean, 1e-10);
  ASSERT_GT(bound, 0) << "it adds nothing: the sum below would prove nothing";
  const double features = static_cast<double>(options.fusion.tokens * options.fusion.width);
  EXPECT_NEAR(report.loss_share, mean + options.fusion.mutual_information * bound / features, 1e-10);
}

}  // namespace
}  // namespace medfuse::train
