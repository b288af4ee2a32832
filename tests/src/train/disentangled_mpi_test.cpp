// The mutual-information loss must not silence S_C: trained on data whose labels both views know, S_C alone still
// predicts, judged on samples that took no part in training.
#include <gtest/gtest.h>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "src/evaluate/disentanglement.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

/// The first labs and the first tokens say the labels; four samples of ten do not train.
void make_learnable(data::Sample& sample) {
  const std::int64_t number = sample.patient;
  sample.split = number % 10 < 6 ? data::Split::train : number % 10 < 8 ? data::Split::validation : data::Split::test;
  sample.tokens.clear();
  for (std::int64_t k = 0; k < tiny::diseases; ++k) {
    const auto label = static_cast<std::uint8_t>((number * 2654435761u >> (7 + k)) % 2);
    sample.labels[k] = label;
    sample.tokens.push_back(static_cast<std::int32_t>(2 * k + label));
    sample.observed[k] = 1;
    sample.labs[k] = label ? 0.8f : 0.2f;
  }
}

TEST(Disentangled, TheSharedPartAloneStillPredicts) {
  static cluster::Process process;
  const auto host = cluster::make_mpi_communicator(process);
  tiny::TempFolder folder;
  tiny::write_data(folder.path(), 600, make_learnable);
  const data::PackedReader reader(folder.path());
  auto options = tiny::options("f32");
  options.batch = 32;
  options.encoders.length.steps = 20;
  options.fusion_stage.length.steps = 100;
  options.learning_rate = 3e-3;
  options.fusion_stage.estimator_steps = 5;
  ASSERT_GT(options.fusion.mutual_information, 0);
  const std::string checkpoints = process.broadcast((folder.path() / "checkpoints").string());
  const auto run = tiny::train(options, reader, {*host, *host}, checkpoints);
  const auto of = [&](data::Split split) {
    return evaluate::infer(*run.model, reader, reader.indices(split), *host, {.parts = true});
  };
  const auto parts = evaluate::disentanglement(of(data::Split::validation), of(data::Split::test), 1);
  EXPECT_GT(*parts.shared_auroc, 0.8);
  EXPECT_GT(*parts.text_auroc, 0.8);
  EXPECT_GT(*parts.labs_auroc, 0.8);
}

}  // namespace
}  // namespace medfuse::train
