#include "launch/validation.h"

#include <optional>
#include <vector>

#include "base/error.h"
#include "src/evaluate/inference.h"
#include "src/evaluate/scores.h"
#include "src/parallel/weight_shards.h"

namespace medfuse::launch {

namespace {

struct LeftOff {};

/// Some disease is there in one sample and not in another.
bool can_be_scored(const data::PackedReader& reader, const std::vector<std::int64_t>& rows) {
  for (std::size_t disease = 0; disease < reader.info().diseases.size(); ++disease) {
    std::size_t positives = 0;
    for (const std::int64_t row : rows) positives += reader.sample(row).labels[disease] != 0 ? 1 : 0;
    if (positives > 0 && positives < rows.size()) return true;
  }
  return false;
}

}  // namespace

train::Score validation_score(model::MedfuseModel& model, const data::PackedReader& reader, train::Ranks ranks,
                              std::int64_t micro_batch) {
  const auto rows = reader.indices(data::Split::validation);
  if (!can_be_scored(reader, rows)) {
    data_error("validate.every: the validation split, {} samples, has no disease with both classes; pack with a larger "
               "split.validation, or set validate.every to 0", rows.size());
  }
  return [&model, &reader, ranks, rows, micro_batch](const std::function<bool()>& stop) -> std::optional<double> {
    // A score that is made up for may be wanted before the stage is entered.
    if (ranks.shards) ranks.shards->divide(parallel::Sharers::all);
    try {
      const auto predictions = evaluate::predict(
          model, reader, rows, ranks.host, {.micro_batch = micro_batch, .before_pass = [&] { if (stop()) throw LeftOff(); }});
      const std::vector<double> any_threshold(predictions.diseases.size(), 0.5);  // the AUROC has none
      return evaluate::score(predictions, any_threshold).macro_auroc.value();
    } catch (const LeftOff&) {
      return std::nullopt;
    }
  };
}

}  // namespace medfuse::launch
