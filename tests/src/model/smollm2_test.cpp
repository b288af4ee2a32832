// Hidden states of the real SmolLM2-135M against transformers. Skipped where its weights are not there.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "src/model/text_encoder.h"
#include "src/weights/safetensors.h"

namespace medfuse::model {
namespace {

std::string weights_folder() {
  const char* const given = std::getenv("MEDFUSE_SMOLLM2");
  return given != nullptr ? given : ".deps/weights/smollm2-135m";
}

TEST(SmolLM2, HiddenStatesEqualTransformers) {
  TextOptions options;
  options.model = weights_folder();
  options.lora.rank = 0;
  if (!std::filesystem::exists(std::filesystem::path(options.model) / "config.json")) {
    GTEST_SKIP() << "no SmolLM2-135M in " << options.model << ": set MEDFUSE_SMOLLM2 to its Hugging Face folder";
  }
  const auto encoder = TextEncoder::load(options, at::kFloat, 1);
  const auto expected = weights::Safetensors::open("tests/fixtures/model/smollm2_expected.safetensors");
  const torch::NoGradGuard no_grad;
  double worst = 0;
  for (int i = 0; expected.contains("tokens." + std::to_string(i)); ++i) {
    const std::string number = std::to_string(i);
    const at::Tensor tokens_BL = expected.tensor("tokens." + number).unsqueeze(0);
    const at::Tensor wanted_PD = expected.tensor("hidden." + number);
    const at::Tensor hidden_PD = encoder->hidden(tokens_BL)[0].index_select(0, expected.tensor("positions." + number));
    worst = std::max(worst, (hidden_PD - wanted_PD).abs().max().item<double>());
    const at::Tensor embedded_D = encoder->embed(tokens_BL, at::full({1}, tokens_BL.size(1), at::kLong))[0];
    worst = std::max(worst, (embedded_D - wanted_PD[-1]).abs().max().item<double>());
  }
  RecordProperty("worst_difference", std::to_string(worst));
  std::printf("largest difference of a hidden state: %.2e\n", worst);
  EXPECT_LE(worst, 1e-4);
}

}  // namespace
}  // namespace medfuse::model
