#include "src/model/lab_transformer.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "base/error.h"
#include "src/model/lab_block.h"
#include "src/model/lab_embedding.h"
#include "src/model/lab_head.h"
#include "src/model/seed.h"

namespace medfuse::model {

namespace {

void check(const LabOptions& options, std::int64_t columns) {
  if (columns < 1) throw std::logic_error("a lab transformer without columns");
  if (options.width < 1) usage_error("labs.width: {} is below 1", options.width);
  if (options.encoder_layers < 1) usage_error("labs.encoder_layers: {} is below 1", options.encoder_layers);
  if (options.decoder_layers < 1) usage_error("labs.decoder_layers: {} is below 1", options.decoder_layers);
  if (!(options.mask_ratio >= 0.0 && options.mask_ratio < 1.0)) {
    usage_error("labs.mask_ratio: {} is outside [0, 1)", options.mask_ratio);
  }
  if (!(options.dropout >= 0.0 && options.dropout < 1.0)) {
    usage_error("labs.dropout: {} is outside [0, 1)", options.dropout);
  }
}

torch::nn::LayerNorm layer_norm(std::int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}));
}

}  // namespace

// Where the visible cells of a batch lie: each row's are moved to the front, in column order, and padded to the longest.
struct LabTransformer::Visible {
  at::Tensor flat_N;      // row * C + column of each place [B * L]; the places beyond a row's count hold other columns
  at::Tensor mask_BT;     // bool [B, 1 + L]: CLS and the visible cells; undefined where no row is padded
  at::Tensor place_N;     // row * (1 + L) + place of each cell [B * C]; any place for a cell that is not visible
  std::int64_t length = 0;  // L
};

LabTransformer::LabTransformer(const LabOptions& options, std::int64_t columns, std::uint64_t seed,
                               const LabKnots& knots)
    : options_(options), columns_(columns) {
  check(options, columns);
  const std::int64_t width = options.width;
  embedding_ = register_module("embedding", std::make_shared<LabEmbedding>(columns, width, knots));
  cls_token_W_ = register_parameter("cls_token", torch::empty({width}));
  std::int64_t layer = 0;
  const auto add_blocks = [&](const std::string& name, std::int64_t count) {
    std::vector<std::shared_ptr<LabBlock>> blocks;
    for (std::int64_t i = 0; i < count; ++i) {
      blocks.push_back(register_module(name + std::to_string(i), std::make_shared<LabBlock>(
                                                                     width, options.heads, options.dropout, layer++)));
    }
    return blocks;
  };
  encoder_ = add_blocks("encoder", options.encoder_layers);
  encoder_norm_ = register_module("encoder_norm", layer_norm(width));
  bridge_ = register_module("bridge", torch::nn::Linear(width, width));
  mask_token_W_ = register_parameter("mask_token", torch::empty({width}));
  decoder_columns_CW_ = register_parameter("decoder_columns", torch::empty({columns, width}));
  decoder_ = add_blocks("decoder", options.decoder_layers);
  decoder_norm_ = register_module("decoder_norm", layer_norm(width));
  head_ = register_module("head", std::make_shared<LabHead>(columns, width, knots));
  seed_parameters(*this, seed, "lab.");
  embedding_->seed(seed, "lab.embedding.");
  head_->seed(seed, "lab.head.");
  seed_normal(cls_token_W_, 0.5, seed, "lab.cls_token");
  seed_normal(mask_token_W_, 0.5, seed, "lab.mask_token");
  seed_normal(decoder_columns_CW_, 0.5, seed, "lab.decoder_columns");
}

LabTransformer::Visible LabTransformer::gather(const at::Tensor& keep_BC) const {
  Visible visible;
  const std::int64_t rows = keep_BC.size(0);
  const at::Tensor count_B = keep_BC.sum(1);
  if (rows > 0) visible.length = count_B.max().item<std::int64_t>();
  const std::int64_t length = visible.length;
  const at::Tensor order_BC = keep_BC.logical_not().to(at::kByte).argsort(/*stable=*/true, /*dim=*/1);
  const at::Tensor row_B1 = at::arange(rows, count_B.options()).unsqueeze(1);
  visible.flat_N = (row_B1 * columns_ + order_BC.narrow(1, 0, length)).flatten();
  if (rows > 0 && count_B.min().item<std::int64_t>() < length) {
    visible.mask_BT = at::arange(length + 1, count_B.options()).unsqueeze(0) <= count_B.unsqueeze(1);
  }
  // A visible cell's place is the number of visible ones before it, after CLS.
  const at::Tensor place_BC = keep_BC.cumsum(1).clamp_max(length);
  visible.place_N = (row_B1 * (length + 1) + place_BC).flatten();
  return visible;
}

void LabTransformer::set_recompute(Recompute mode) {
  for (const auto* blocks : {&encoder_, &decoder_}) {
    for (const auto& block : *blocks) block->set_recompute(mode);
  }
}

at::Tensor LabTransformer::run_encoder(const at::Tensor& values_BC, const Visible& visible,
                                       const ops::DropoutKeys& keys) {
  const std::int64_t rows = values_BC.size(0);
  const at::Tensor cells = embedding_->forward(values_BC, visible.flat_N);
  const at::Tensor cls = cls_token_W_.expand({rows, 1, options_.width});
  at::Tensor x = at::cat({cls, cells.view({rows, visible.length, options_.width})}, 1);
  for (const auto& block : encoder_) x = block->forward(x, visible.mask_BT, keys);
  return encoder_norm_(x);
}

at::Tensor LabTransformer::forward(const at::Tensor& values_BC, const at::Tensor& keep_BC,
                                   const ops::DropoutKeys& keys) {
  return predict(values_BC, keep_BC, keys).values_BC;
}

LabPrediction LabTransformer::predict(const at::Tensor& values_BC, const at::Tensor& keep_BC,
                                      const ops::DropoutKeys& keys) {
  const std::int64_t rows = values_BC.size(0);
  const Visible visible = gather(keep_BC);
  const at::Tensor values = at::where(keep_BC, values_BC.to(cls_token_W_.scalar_type()), 0);
  const at::Tensor encoded = bridge_(run_encoder(values, visible, keys));
  const at::Tensor cells = encoded.flatten(0, 1).index_select(0, visible.place_N).view({rows, columns_, options_.width});
  const at::Tensor shown = at::where(keep_BC.unsqueeze(2), cells, mask_token_W_) + decoder_columns_CW_;
  at::Tensor x = at::cat({encoded.narrow(1, 0, 1), shown}, 1);
  for (const auto& block : decoder_) x = block->forward(x, {}, keys);
  return head_->forward(decoder_norm_(x.narrow(1, 1, columns_)));
}

LabTokens LabTransformer::encode(const at::Tensor& values_BC, const at::Tensor& observed_BC,
                                 const ops::DropoutKeys& keys) {
  const std::int64_t rows = values_BC.size(0);
  const Visible visible = gather(observed_BC);
  const at::Tensor values = at::where(observed_BC, values_BC.to(cls_token_W_.scalar_type()), 0);
  const at::Tensor encoded = run_encoder(values, visible, keys);
  const at::Tensor cells = encoded.flatten(0, 1).index_select(0, visible.place_N).view({rows, columns_, options_.width});
  LabTokens result;
  result.tokens_BTW = at::cat({encoded.narrow(1, 0, 1), at::where(observed_BC.unsqueeze(2), cells, 0)}, 1);
  result.mask_BT = at::cat({at::ones({rows, 1}, observed_BC.options()), observed_BC}, 1);
  return result;
}

at::Tensor LabLoss::total(const LabCounts& global) const {
  return hidden_sum / static_cast<double>(std::max<std::int64_t>(global.hidden, 1)) +
         kept_sum / static_cast<double>(std::max<std::int64_t>(global.kept, 1));
}

namespace {

LabLoss split_sums(const at::Tensor& loss_BC, const at::Tensor& observed_BC, const at::Tensor& keep_BC) {
  const at::Tensor hidden_BC = observed_BC.logical_and(keep_BC.logical_not());
  return {at::where(hidden_BC, loss_BC, 0).sum(), at::where(keep_BC, loss_BC, 0).sum()};
}

}  // namespace

LabLoss lab_loss(const at::Tensor& predictions_BC, const at::Tensor& values_BC, const at::Tensor& observed_BC,
                 const at::Tensor& keep_BC) {
  // Missing values may be NaN: take them out before the difference, else NaN * 0 reaches the gradient.
  const at::Tensor target = at::where(observed_BC, values_BC.to(predictions_BC.scalar_type()), 0);
  return split_sums((predictions_BC - target).square(), observed_BC, keep_BC);
}

LabLoss lab_cross_entropy(const at::Tensor& log_probabilities_BCK, const LabPlaces& places,
                          const at::Tensor& observed_BC, const at::Tensor& keep_BC) {
  const at::Tensor index = places.index_BC.unsqueeze(2);
  const at::Tensor below = log_probabilities_BCK.gather(2, index).squeeze(2);
  const at::Tensor above = log_probabilities_BCK.gather(2, index + 1).squeeze(2);
  const at::Tensor fraction = places.fraction_BC.to(below.scalar_type());
  return split_sums(-at::lerp(below, above, fraction), observed_BC, keep_BC);
}

}  // namespace medfuse::model
