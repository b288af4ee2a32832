#include "src/train/impute.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "data/batch/order.h"
#include "src/model/lab_knots.h"
#include "src/model/lab_masking.h"
#include "src/model/lab_transformer.h"
#include "src/train/adamw.h"
#include "src/train/impute_replicas.h"
#include "src/train/impute_table.h"
#include "src/train/schedule.h"

namespace medfuse::train {

namespace {

void check(const ImputeOptions& options) {
  if (options.epochs < 0) usage_error("epochs: {} is below 0", options.epochs);
  if (options.batch < 1) usage_error("batch: {} is below 1", options.batch);
  if (!(options.learning_rate > 0)) usage_error("learning_rate: {} is not above 0", options.learning_rate);
  if (!(options.warmup >= 0 && options.warmup <= 1)) usage_error("warmup: {} is outside [0, 1]", options.warmup);
  if (!(options.weight_decay >= 0)) usage_error("weight_decay: {} is below 0", options.weight_decay);
  if (!(options.clip >= 0)) usage_error("clip: {} is below 0", options.clip);
  if (!(options.cross_entropy >= 0)) usage_error("cross_entropy: {} is below 0", options.cross_entropy);
  if (options.knots < 2) usage_error("knots: {} is below 2", options.knots);
  if (options.threads < 0) usage_error("threads: {} is below 0", options.threads);
  if (!(options.labs.mask_ratio > 0)) usage_error("labs.mask_ratio: {} hides nothing", options.labs.mask_ratio);
}

std::vector<NamedTensor> named(model::LabTransformer& model) {
  std::vector<NamedTensor> parameters;
  for (const auto& item : model.named_parameters()) parameters.push_back({item.key(), item.value()});
  return parameters;
}

class Imputer {
 public:
  Imputer(const ImputeOptions& options, std::size_t columns, const std::vector<double>& values)
      : options_(options),
        table_(columns, values),
        knots_(model::fit_lab_knots(table_.values_RC, table_.observed_RC, options.knots)),
        stage_(name_counter("impute")),
        replicas_(threads(options),
                  [&] {
                    return std::make_shared<model::LabTransformer>(
                        options.labs, static_cast<std::int64_t>(columns), options.seed, knots_);
                  }),
        optimizer_({{named(replicas_.main()), 1.0, options.weight_decay}}, {.beta1 = 0.9, .beta2 = 0.95}) {
    places_ = knots_.locate(table_.values_RC);
  }

  void train(const std::function<void(const ImputeProgress&)>& progress) {
    // Rows without any number teach nothing.
    const at::Tensor useful = table_.observed_RC.any(1).nonzero().flatten().contiguous();
    const std::int64_t* ids = useful.const_data_ptr<std::int64_t>();
    data::SampleStream stream({ids, ids + useful.numel()}, options_.seed, stage_);
    const std::int64_t epochs = options_.epochs > 0 ? options_.epochs : impute_epochs(useful.numel());
    const std::int64_t steps = std::max<std::int64_t>(epochs * useful.numel() / options_.batch, 1);
    const ScheduleOptions schedule{options_.learning_rate, steps, options_.warmup, 0.01};
    if (progress) progress({0, steps, options_.batch, 0});
    for (std::int64_t step = 0; step < steps; ++step) {
      const double loss = update(stream.step(step, options_.batch), stream, learning_rate(schedule, step));
      if (!std::isfinite(loss)) {
        numeric_error("training diverged at step {} of {}; lower the learning rate ({})", step + 1, steps,
                      options_.learning_rate);
      }
      if (progress) progress({step + 1, steps, options_.batch, loss});
    }
  }

  // Scaled predictions of the given rows with every observed cell visible, [rows, C].
  at::Tensor predict(const at::Tensor& rows) {
    const torch::NoGradGuard no_grad;
    at::Tensor predictions = at::empty({rows.numel(), table_.values_RC.size(1)}, at::kFloat);
    replicas_.run(rows.numel(), [&](model::LabTransformer& model, std::int64_t begin, std::int64_t end) {
      for (std::int64_t at = begin; at < end; at += 512) {
        const at::Tensor part = rows.narrow(0, at, std::min<std::int64_t>(512, end - at));
        predictions.narrow(0, at, part.numel())
            .copy_(model.forward(table_.values_RC.index_select(0, part), table_.observed_RC.index_select(0, part)));
      }
    });
    return predictions;
  }

  const ImputeTable& table() const { return table_; }

 private:
  static std::int64_t threads(const ImputeOptions& options) {
    const std::int64_t wanted =
        options.threads > 0 ? options.threads : static_cast<std::int64_t>(std::thread::hardware_concurrency());
    // A part of a batch below some 16 rows is not worth a thread.
    return std::clamp<std::int64_t>(wanted, 1, std::max<std::int64_t>(options.batch / 16, 1));
  }

  // One optimiser step. Returns the squared-error loss.
  double update(const std::vector<data::Draw>& draws, const data::SampleStream& stream, double rate) {
    const auto count = static_cast<std::int64_t>(draws.size());
    const at::Tensor rows = at::empty({count}, at::kLong), keys = at::empty({count}, at::kLong);
    for (std::int64_t i = 0; i < count; ++i) {
      const data::Draw& draw = draws[static_cast<std::size_t>(i)];
      const std::int64_t row = stream.id(draw);
      rows.mutable_data_ptr<std::int64_t>()[i] = row;
      keys.mutable_data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(key(
          {options_.seed, stage_, static_cast<std::uint64_t>(draw.epoch), static_cast<std::uint64_t>(row)}));
    }
    const at::Tensor values = table_.values_RC.index_select(0, rows);
    const at::Tensor observed = table_.observed_RC.index_select(0, rows);
    const at::Tensor keep = model::lab_keep_mask(observed, keys, options_.labs.mask_ratio);
    const model::LabCounts counts = model::lab_counts(observed, keep);
    const model::LabPlaces places{places_.index_BC.index_select(0, rows), places_.fraction_BC.index_select(0, rows)};

    std::vector<double> shares(static_cast<std::size_t>(count), 0.0);  // by first row of the part
    replicas_.run(count, [&](model::LabTransformer& model, std::int64_t begin, std::int64_t end) {
      if (begin == end) return;
      const auto part = [&](const at::Tensor& t) { return t.narrow(0, begin, end - begin); };
      const model::LabPrediction prediction = model.predict(part(values), part(keep), {part(keys)});
      const at::Tensor squared =
          model::lab_loss(prediction.values_BC, part(values), part(observed), part(keep)).total(counts);
      const model::LabPlaces own{part(places.index_BC), part(places.fraction_BC)};
      const at::Tensor entropy =
          model::lab_cross_entropy(prediction.log_probabilities_BCK, own, part(observed), part(keep)).total(counts);
      (squared + options_.cross_entropy * entropy).backward();
      shares[static_cast<std::size_t>(begin)] = squared.item<double>();
    });
    replicas_.collect_gradients();
    optimizer_.step(rate, clip_scale());
    optimizer_.zero_grad();
    return std::accumulate(shares.begin(), shares.end(), 0.0);
  }

  double clip_scale() {
    if (options_.clip == 0) return 1.0;
    double square = 0;
    for (const at::Tensor& parameter : replicas_.main().parameters()) {
      if (parameter.grad().defined()) square += std::pow(parameter.grad().norm().item<double>(), 2);
    }
    const double norm = std::sqrt(square);
    return norm > options_.clip ? options_.clip / norm : 1.0;
  }

  ImputeOptions options_;
  ImputeTable table_;
  model::LabKnots knots_;
  model::LabPlaces places_;
  std::uint64_t stage_;
  ImputeReplicas replicas_;
  AdamW optimizer_;
};

// Torch's own threads would fight with the replicas' for the cores.
class OneTorchThread {
 public:
  OneTorchThread() : before_(at::get_num_threads()) { at::set_num_threads(1); }
  ~OneTorchThread() { at::set_num_threads(before_); }
  OneTorchThread(const OneTorchThread&) = delete;
  OneTorchThread& operator=(const OneTorchThread&) = delete;

 private:
  int before_;
};

}  // namespace

std::int64_t impute_epochs(std::int64_t rows) {
  return std::clamp<std::int64_t>(400'000 / std::max<std::int64_t>(rows, 1), 30, 400);
}

std::vector<double> impute(const ImputeOptions& options, std::size_t columns, std::vector<double> values,
                           const std::function<void(const ImputeProgress&)>& progress) {
  check(options);
  if (std::none_of(values.begin(), values.end(), [](double value) { return std::isnan(value); })) return values;
  const OneTorchThread one_thread;
  Imputer imputer(options, columns, values);
  imputer.train(progress);

  const at::Tensor gaps = imputer.table().observed_RC.logical_not().any(1).nonzero().flatten().contiguous();
  const at::Tensor predictions = imputer.predict(gaps);
  for (std::int64_t i = 0; i < gaps.numel(); ++i) {
    const auto row = static_cast<std::size_t>(gaps.const_data_ptr<std::int64_t>()[i]);
    const float* scaled = predictions.const_data_ptr<float>() + i * static_cast<std::int64_t>(columns);
    for (std::size_t column = 0; column < columns; ++column) {
      double& value = values[row * columns + column];
      if (std::isnan(value)) value = imputer.table().unscaled(scaled[column], column);
    }
  }
  return values;
}

}  // namespace medfuse::train
