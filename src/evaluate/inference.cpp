#include "src/evaluate/inference.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>

#include "src/train/batch.h"

namespace medfuse::evaluate {

namespace {

/// Rows of a [N, width] float64 table that every rank fills in part: sorted by length, so that a pass pads little, and
/// dealt in turn, so that the ranks have equally much to do. Summing the tables brings them together. `rows_of` gets
/// numbers of rows. A rank that has fewer passes makes up for them with `idle`: ranks may share weights, and gather them
/// together.
at::Tensor gather_rows(std::span<const std::int32_t> lengths, std::int64_t width, cluster::Communicator& host,
                       const InferenceOptions& options,
                       const std::function<at::Tensor(std::span<const std::int64_t>)>& rows_of,
                       const std::function<void()>& idle) {
  const torch::NoGradGuard no_grad;
  std::vector<std::int64_t> order(lengths.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return lengths[a] > lengths[b]; });
  std::vector<std::int64_t> mine;
  for (std::size_t i = host.rank(); i < order.size(); i += host.size()) mine.push_back(order[i]);

  at::Tensor table = torch::zeros({std::ssize(lengths), width}, torch::kFloat64);
  const std::size_t most = (order.size() + host.size() - 1) / host.size();  // rows of a rank
  for (std::size_t begin = 0; begin < most; begin += options.micro_batch) {
    if (options.before_pass) options.before_pass();
    if (begin >= mine.size()) {
      idle();
      continue;
    }
    const std::size_t count = std::min(mine.size() - begin, static_cast<std::size_t>(options.micro_batch));
    const std::span<const std::int64_t> rows(mine.data() + begin, count);
    const at::Tensor where = torch::tensor(std::vector<std::int64_t>(rows.begin(), rows.end()));
    table.index_copy_(0, where, rows_of(rows).to(torch::kCPU, torch::kFloat64));
    if (options.progress) options.progress(static_cast<std::int64_t>(begin + count), std::ssize(mine));
  }
  host.all_reduce(table, cluster::Reduction::sum)->wait();
  return table;
}

std::vector<std::int32_t> lengths_of(const data::PackedReader& reader, const std::vector<std::int64_t>& indices) {
  std::vector<std::int32_t> lengths;
  for (const auto index : indices) lengths.push_back(reader.lengths()[index]);
  return lengths;
}

std::vector<std::int64_t> chosen(const std::vector<std::int64_t>& indices, std::span<const std::int64_t> rows) {
  std::vector<std::int64_t> samples;
  for (const auto row : rows) samples.push_back(indices[row]);
  return samples;
}

}  // namespace

Inference infer(model::MedfuseModel& model, const data::PackedReader& reader, const std::vector<std::int64_t>& indices,
                cluster::Communicator& host, const InferenceOptions& options) {
  const data::PackedInfo& info = reader.info();
  const at::Device device = model.text_head->weight.device();
  const train::Parts parts{.text = !options.fused || model.fusion->uses_text(),
                           .labs = options.fused && model.fusion->uses_labs()};
  const bool apart = options.parts && options.fused && model.fusion->uses_both();
  const auto rows_of = [&](std::span<const std::int64_t> rows) {
    const train::Batch batch = train::make_batch(reader, chosen(indices, rows), model.state_type(), device, parts);
    at::Tensor embedding_BD;
    model::LabTokens tokens;
    if (parts.text) embedding_BD = model.embed(batch.tokens_BL, batch.lengths_B);
    if (!options.fused) return model.text_head->forward(embedding_BD).sigmoid();
    if (parts.labs) tokens = model.labs->encode(batch.labs_BC, batch.observed_BC);
    const auto output = model.fusion->forward(embedding_BD, tokens.tokens_BTW, tokens.mask_BT);
    const at::Tensor probabilities_BK = output.logits_BK.sigmoid();
    return apart ? at::cat({probabilities_BK, output.specific_BF, output.shared_BG}, 1) : probabilities_BK;
  };
  const std::int64_t diseases = model.text_head->weight.size(0);
  const std::int64_t specific = apart ? model.fusion->specific_width() : 0;
  const std::int64_t shared = apart ? model.fusion->shared_width() : 0;
  const at::Tensor table =
      gather_rows(lengths_of(reader, indices), diseases + specific + shared, host, options, rows_of,
                  [&] { if (parts.text) model.text->idle_forward(); });

  Inference inference;
  if (apart) {
    inference.specific_NF = table.narrow(1, diseases, specific);
    inference.shared_NG = table.narrow(1, diseases + specific, shared);
  }
  const at::Tensor probabilities = table.narrow(1, 0, diseases).contiguous();
  Predictions& predictions = inference.predictions;
  predictions.diseases = info.diseases;
  predictions.probabilities.assign(probabilities.data_ptr<double>(),
                                   probabilities.data_ptr<double>() + probabilities.numel());
  for (const auto index : indices) {
    const data::Sample sample = reader.sample(index);
    predictions.admissions.push_back(sample.admission);
    predictions.patients.push_back(sample.patient);
    predictions.labels.insert(predictions.labels.end(), sample.labels.begin(), sample.labels.end());
  }
  return inference;
}

Predictions predict(model::MedfuseModel& model, const data::PackedReader& reader,
                    const std::vector<std::int64_t>& indices, cluster::Communicator& host,
                    const InferenceOptions& options) {
  return infer(model, reader, indices, host, options).predictions;
}

at::Tensor embed(model::MedfuseModel& model, const data::PackedReader& reader,
                 const std::vector<std::int64_t>& indices, cluster::Communicator& host,
                 const InferenceOptions& options) {
  const at::Device device = model.text_head->weight.device();
  const auto rows_of = [&](std::span<const std::int64_t> rows) {
    const train::Batch batch =
        train::make_batch(reader, chosen(indices, rows), model.state_type(), device, {.text = true, .labs = false});
    return model.embed(batch.tokens_BL, batch.lengths_B);
  };
  return gather_rows(lengths_of(reader, indices), model.text->width(), host, options, rows_of,
                     [&] { model.text->idle_forward(); })
      .to(torch::kFloat32);
}

at::Tensor embed_tokens(model::TextEncoder& encoder, const std::vector<std::vector<std::int32_t>>& texts,
                        cluster::Communicator& host, const InferenceOptions& options) {
  std::vector<std::int32_t> lengths;
  for (const auto& text : texts) lengths.push_back(static_cast<std::int32_t>(text.size()));
  const at::Device device = encoder.buffers().front().device();
  const auto rows_of = [&](std::span<const std::int64_t> rows) {
    std::int64_t longest = 1;
    for (const auto row : rows) longest = std::max<std::int64_t>(longest, lengths[row]);
    const at::Tensor tokens = torch::zeros({std::ssize(rows), longest}, torch::kInt64);
    const at::Tensor row_lengths = torch::zeros({std::ssize(rows)}, torch::kInt64);
    for (std::int64_t i = 0; i < std::ssize(rows); ++i) {
      std::copy(texts[rows[i]].begin(), texts[rows[i]].end(), tokens.data_ptr<std::int64_t>() + i * longest);
      row_lengths.data_ptr<std::int64_t>()[i] = lengths[rows[i]];
    }
    return encoder.embed(tokens.to(device), row_lengths);
  };
  return gather_rows(lengths, encoder.width(), host, options, rows_of, [&] { encoder.idle_forward(); })
      .to(torch::kFloat32);
}

}  // namespace medfuse::evaluate
