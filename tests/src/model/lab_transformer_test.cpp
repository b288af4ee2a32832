#include "src/model/lab_transformer.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace medfuse::model {
namespace {

constexpr std::int64_t kColumns = 7;

LabOptions small_options() {
  LabOptions options;
  options.width = 16;
  options.encoder_layers = 2;
  options.decoder_layers = 2;
  options.heads = 4;
  return options;
}

LabTransformer small_model(std::uint64_t seed = 1) {
  LabTransformer model(small_options(), kColumns, seed);
  model.to(torch::kDouble);
  return model;
}

struct Table {
  at::Tensor values, observed, keep;
  std::vector<std::int64_t> ids;
};

// Rows with 0, 1, ... cells observed in turn, so that nearly every row is shorter than the batch's longest.
Table ragged_table(std::int64_t rows) {
  torch::manual_seed(3);
  Table table;
  table.values = torch::rand({rows, kColumns}, torch::kDouble);
  table.observed = torch::rand({rows, kColumns}) < (torch::arange(rows).unsqueeze(1) / double(rows - 1) * 1.2);
  table.observed[0].fill_(false);
  table.ids.resize(rows);
  std::iota(table.ids.begin(), table.ids.end(), 50);
  table.keep = lab_keep_mask(table.observed, table.ids, 1, 2, 3, 0.5);
  return table;
}

ops::DropoutKeys keys_of(const std::vector<std::int64_t>& ids) {
  std::vector<std::int64_t> keys;
  for (const std::int64_t id : ids) {
    keys.push_back(static_cast<std::int64_t>(key({1, 2, 3, static_cast<std::uint64_t>(id)})));
  }
  return {torch::tensor(keys)};
}

TEST(LabTransformer, LossEqualsLoopsOverCells) {
  const Table table = ragged_table(9);
  torch::manual_seed(4);
  const at::Tensor predictions = torch::rand({9, kColumns}, torch::kDouble).requires_grad_();
  double hidden = 0, kept = 0;
  at::Tensor gradient = torch::zeros({9, kColumns}, torch::kDouble);
  const LabCounts counts = lab_counts(table.observed, table.keep);
  for (int row = 0; row < 9; ++row) {
    for (int column = 0; column < kColumns; ++column) {
      if (!table.observed[row][column].item<bool>()) continue;
      const double error = predictions[row][column].item<double>() - table.values[row][column].item<double>();
      const bool visible = table.keep[row][column].item<bool>();
      (visible ? kept : hidden) += error * error;
      gradient[row][column] = 2 * error / double(visible ? counts.kept : counts.hidden);
    }
  }
  const at::Tensor values = at::where(table.observed, table.values, std::numeric_limits<double>::quiet_NaN());
  const LabLoss loss = lab_loss(predictions, values, table.observed, table.keep);
  EXPECT_NEAR(loss.hidden_sum.item<double>(), hidden, 1e-12);
  EXPECT_NEAR(loss.kept_sum.item<double>(), kept, 1e-12);
  const at::Tensor total = loss.total(counts);
  EXPECT_NEAR(total.item<double>(), hidden / counts.hidden + kept / counts.kept, 1e-12);
  total.backward();
  EXPECT_LT((predictions.grad() - gradient).abs().max().item<double>(), 1e-12);
}

TEST(LabTransformer, LossOfNoCellsIsZero) {
  const at::Tensor predictions = torch::rand({0, kColumns}, torch::kDouble).requires_grad_();
  const at::Tensor none = torch::zeros({0, kColumns}, torch::kBool);
  EXPECT_EQ(lab_loss(predictions, torch::rand({0, kColumns}), none, none).total({0, 0}).item<double>(), 0.0);
}

TEST(LabTransformer, HiddenAndMissingCellsChangeNothing) {
  LabTransformer model = small_model();
  const Table table = ragged_table(9);
  const at::Tensor expected = model.forward(table.values, table.keep);
  EXPECT_TRUE(expected.isfinite().all().item<bool>());
  EXPECT_GT(expected.min().item<double>(), 0.0);
  EXPECT_LT(expected.max().item<double>(), 1.0);
  for (const double other : {0.0, 1e6, std::numeric_limits<double>::quiet_NaN()}) {
    const at::Tensor changed = at::where(table.keep, table.values, other);
    EXPECT_TRUE(model.forward(changed, table.keep).equal(expected)) << other;
  }
  // The kept ones do matter.
  EXPECT_FALSE(model.forward(at::where(table.keep, table.values * 0.5, 0.0), table.keep).equal(expected));
}

TEST(LabTransformer, NoGradientReachesHiddenCellsAndNoneIsNan) {
  LabTransformer model = small_model();
  const Table table = ragged_table(9);
  const at::Tensor values =
      at::where(table.observed, table.values, std::numeric_limits<double>::quiet_NaN()).detach().requires_grad_();
  const at::Tensor predictions = model.forward(values, table.keep);
  predictions.sum().backward();
  EXPECT_TRUE(at::where(table.keep, 0, values.grad()).eq(0).all().item<bool>());
  EXPECT_GT(at::where(table.keep, values.grad(), 0).abs().sum().item<double>(), 0.0);
  for (const auto& parameter : model.named_parameters()) {
    EXPECT_TRUE(parameter.value().grad().isfinite().all().item<bool>()) << parameter.key();
  }
}

TEST(LabTransformer, RowsDoNotDependOnTheirBatch) {
  LabOptions options = small_options();
  options.dropout = 0.2;
  LabTransformer model(options, kColumns, 1);
  model.to(torch::kDouble);
  const Table table = ragged_table(9);
  const at::Tensor together = model.forward(table.values, table.keep, keys_of(table.ids));
  const LabTokens tokens = model.encode(table.values, table.observed, keys_of(table.ids));
  EXPECT_GT((together - model.forward(table.values, table.keep)).abs().max().item<double>(), 1e-3) << "no dropout";
  for (std::int64_t row = 0; row < 9; ++row) {
    const auto one = [&](const at::Tensor& t) { return t.narrow(0, row, 1); };
    const ops::DropoutKeys keys = keys_of({table.ids[row]});
    const at::Tensor alone = model.forward(one(table.values), one(table.keep), keys);
    EXPECT_LT((alone[0] - together[row]).abs().max().item<double>(), 1e-13) << row;
    const LabTokens own = model.encode(one(table.values), one(table.observed), keys);
    EXPECT_LT((own.tokens_BTW[0] - tokens.tokens_BTW[row]).abs().max().item<double>(), 1e-13) << row;
  }
}

TEST(LabTransformer, EncodesObservedCells) {
  LabTransformer model = small_model();
  const Table table = ragged_table(9);
  const at::Tensor values = at::where(table.observed, table.values, std::numeric_limits<double>::quiet_NaN());
  const LabTokens tokens = model.encode(values, table.observed);
  ASSERT_EQ(tokens.tokens_BTW.sizes(), (std::vector<std::int64_t>{9, 1 + kColumns, 16}));
  ASSERT_EQ(tokens.mask_BT.sizes(), (std::vector<std::int64_t>{9, 1 + kColumns}));
  EXPECT_TRUE(tokens.mask_BT.select(1, 0).all().item<bool>());
  EXPECT_TRUE(tokens.mask_BT.narrow(1, 1, kColumns).equal(table.observed));
  EXPECT_TRUE(tokens.tokens_BTW.abs().sum(2).ne(0).equal(tokens.mask_BT));
  // A cell's token follows its own value more than the others do: they move, too, but all are in their own column.
  at::Tensor changed = values.clone();
  changed[8][2] = 1.0 - changed[8][2].item<double>();
  ASSERT_TRUE(table.observed[8][2].item<bool>());
  const at::Tensor moved = (model.encode(changed, table.observed).tokens_BTW - tokens.tokens_BTW).norm(2, 2)[8];
  EXPECT_EQ(moved.argmax().item<std::int64_t>(), 1 + 2);
}

TEST(LabTransformer, WorksWithoutRowsAndWithoutCells) {
  LabTransformer model = small_model();
  const at::Tensor none = torch::zeros({0, kColumns}, torch::kBool);
  const at::Tensor predictions = model.forward(torch::zeros({0, kColumns}), none);
  EXPECT_EQ(predictions.sizes(), (std::vector<std::int64_t>{0, kColumns}));
  predictions.sum().backward();
  for (const auto& parameter : model.named_parameters()) {
    ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
    EXPECT_EQ(parameter.value().grad().abs().sum().item<double>(), 0.0) << parameter.key();
  }
  EXPECT_EQ(model.encode(torch::zeros({0, kColumns}), none).tokens_BTW.size(1), 1 + kColumns);
  const at::Tensor empty_row = model.forward(torch::zeros({2, kColumns}), torch::zeros({2, kColumns}, torch::kBool));
  EXPECT_TRUE(empty_row.isfinite().all().item<bool>());
  EXPECT_TRUE(empty_row[0].equal(empty_row[1]));
}

TEST(LabTransformer, GradientsAreThoseOfDifferences) {
  LabTransformer model = small_model();
  const Table table = ragged_table(5);
  const LabCounts counts = lab_counts(table.observed, table.keep);
  const auto loss = [&] {
    return lab_loss(model.forward(table.values, table.keep), table.values, table.observed, table.keep).total(counts);
  };
  loss().backward();
  const torch::NoGradGuard no_grad;
  for (const auto& parameter : model.named_parameters()) {
    const at::Tensor flat = parameter.value().view(-1);
    const std::int64_t at = parameter.value().grad().view(-1).abs().argmax().item<std::int64_t>();
    const double step = 1e-6, value = flat[at].item<double>(), slope = parameter.value().grad().view(-1)[at].item<double>();
    flat[at] = value + step;
    const double above = loss().item<double>();
    flat[at] = value - step;
    const double below = loss().item<double>();
    flat[at] = value;
    EXPECT_NE(slope, 0.0) << parameter.key();
    EXPECT_NEAR((above - below) / (2 * step), slope, 1e-7 + 1e-5 * std::abs(slope)) << parameter.key();
  }
}

TEST(LabTransformer, SplitBatchesAddUp) {
  LabTransformer model = small_model();
  const Table table = ragged_table(9);
  const LabCounts counts = lab_counts(table.observed, table.keep);
  const auto part = [&](std::int64_t begin, std::int64_t rows) {
    const auto cut = [&](const at::Tensor& t) { return t.narrow(0, begin, rows); };
    return lab_loss(model.forward(cut(table.values), cut(table.keep)), cut(table.values), cut(table.observed),
                    cut(table.keep))
        .total(counts);
  };
  const double whole = part(0, 9).item<double>();
  EXPECT_NEAR(part(0, 2).item<double>() + part(2, 0).item<double>() + part(2, 7).item<double>(), whole, 1e-13);
}

TEST(LabTransformer, ParametersAreFunctionsOfTheSeed) {
  LabTransformer first = small_model(1), again = small_model(1), other = small_model(2);
  for (const auto& parameter : first.named_parameters()) {
    EXPECT_TRUE(parameter.value().isfinite().all().item<bool>()) << parameter.key();
    EXPECT_TRUE(parameter.value().equal(again.named_parameters()[parameter.key()])) << parameter.key();
  }
  EXPECT_FALSE(first.named_parameters()["cls_token"].equal(other.named_parameters()["cls_token"]));
  EXPECT_FALSE(first.named_parameters()["encoder0.mlp_in.weight"].equal(other.named_parameters()["encoder0.mlp_in.weight"]));
}

TEST(LabTransformer, LearnsATinyTable) {
  // Columns that follow from two hidden numbers: what is hidden can be told from what is kept.
  torch::manual_seed(6);
  const at::Tensor hidden = torch::rand({64, 2});
  const at::Tensor values = torch::sigmoid(torch::matmul(hidden - 0.5, torch::randn({2, kColumns})) * 3);
  const at::Tensor observed = torch::rand({64, kColumns}) < 0.9;
  std::vector<std::int64_t> ids(64);
  std::iota(ids.begin(), ids.end(), 0);
  LabTransformer model(small_options(), kColumns, 1);
  torch::optim::AdamW optimizer(model.parameters(), torch::optim::AdamWOptions(3e-3));
  double first = 0, last = 0;
  for (std::uint64_t epoch = 0; epoch < 300; ++epoch) {
    const at::Tensor keep = lab_keep_mask(observed, ids, 1, 1, epoch, 0.4);
    const LabCounts counts = lab_counts(observed, keep);
    const LabLoss loss = lab_loss(model.forward(values, keep), values, observed, keep);
    optimizer.zero_grad();
    loss.total(counts).backward();
    optimizer.step();
    const double hidden_mean = loss.hidden_sum.item<double>() / counts.hidden;
    if (epoch == 0) first = hidden_mean;
    last = hidden_mean;
  }
  EXPECT_LT(last, first / 10);
  const torch::NoGradGuard no_grad;
  const at::Tensor missing = observed.logical_not();
  const at::Tensor errors = model.forward(values, observed) - values;
  const double missing_error = errors.square().masked_select(missing).mean().item<double>();
  EXPECT_LT(missing_error, values.var().item<double>() / 5);
}

TEST(LabTransformer, RefusesOptionsOutOfRange) {
  const auto with = [](auto change) {
    LabOptions options = small_options();
    change(options);
    LabTransformer model(options, kColumns, 1);
  };
  EXPECT_THROW(with([](LabOptions& o) { o.heads = 3; }), Error);
  EXPECT_THROW(with([](LabOptions& o) { o.width = 0; }), Error);
  EXPECT_THROW(with([](LabOptions& o) { o.mask_ratio = 1.0; }), Error);
  EXPECT_THROW(with([](LabOptions& o) { o.encoder_layers = 0; }), Error);
  EXPECT_THROW(with([](LabOptions& o) { o.decoder_layers = 0; }), Error);
  EXPECT_THROW(with([](LabOptions& o) { o.dropout = -0.1; }), Error);
}

}  // namespace
}  // namespace medfuse::model
