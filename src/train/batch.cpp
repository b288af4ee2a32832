#include "src/train/batch.h"

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace medfuse::train {

namespace {

/// Host tensors first: one copy per tensor to the device, not one per sample.
Batch collate(const std::vector<data::Sample>& samples, const data::PackedInfo& info, at::ScalarType floating,
              at::Device device, Parts parts) {
  const auto count = static_cast<std::int64_t>(samples.size());
  Batch batch;
  std::int64_t longest = 1;
  for (const auto& sample : samples) longest = std::max<std::int64_t>(longest, std::ssize(sample.tokens));
  const std::int64_t text_length = parts.text ? longest : 1;
  at::Tensor tokens = torch::zeros({count, text_length}, torch::kInt64);
  at::Tensor lengths = torch::ones({count}, torch::kInt64);
  if (parts.text) {
    for (std::int64_t row = 0; row < count; ++row) {
      const auto& ids = samples[row].tokens;
      std::copy(ids.begin(), ids.end(), tokens.data_ptr<std::int64_t>() + row * text_length);
      lengths.data_ptr<std::int64_t>()[row] = std::max<std::int64_t>(1, std::ssize(ids));
    }
  }
  batch.tokens_BL = tokens.to(device);
  batch.lengths_B = lengths;
  if (parts.labs) {
    const auto columns = static_cast<std::int64_t>(info.labs.size());
    at::Tensor labs = torch::zeros({count, columns}, torch::kFloat32);
    at::Tensor observed = torch::zeros({count, columns}, torch::kUInt8);
    for (std::int64_t row = 0; row < count; ++row) {
      std::copy(samples[row].labs.begin(), samples[row].labs.end(), labs.data_ptr<float>() + row * columns);
      std::copy(samples[row].observed.begin(), samples[row].observed.end(),
                observed.data_ptr<std::uint8_t>() + row * columns);
    }
    batch.labs_BC = labs.to(device, floating);
    batch.observed_BC = observed.to(device, torch::kBool);
  }
  const std::int64_t diseases = info.has_labels ? std::ssize(info.diseases) : 0;
  at::Tensor labels = torch::zeros({count, diseases}, torch::kFloat32);
  for (std::int64_t row = 0; diseases > 0 && row < count; ++row) {
    std::copy(samples[row].labels.begin(), samples[row].labels.end(), labels.data_ptr<float>() + row * diseases);
  }
  batch.labels_BK = labels.to(device, floating);
  return batch;
}

}  // namespace

Batch make_batch(const data::PackedReader& reader, std::span<const data::Draw> draws, std::uint64_t seed,
                 const std::string& stage, at::ScalarType floating, at::Device device, Parts parts) {
  std::vector<data::Sample> samples;
  samples.reserve(draws.size());
  at::Tensor keys = torch::zeros({std::ssize(draws)}, torch::kInt64);
  const std::uint64_t stage_counter = name_counter(stage);
  for (const auto& draw : draws) {
    const auto row = std::ssize(samples);
    samples.push_back(reader.sample(draw.index));
    keys.data_ptr<std::int64_t>()[row] =
        static_cast<std::int64_t>(key({seed, stage_counter, static_cast<std::uint64_t>(draw.epoch),
                                       static_cast<std::uint64_t>(samples.back().admission)}));
  }
  Batch batch = collate(samples, reader.info(), floating, device, parts);
  batch.keys_B = keys.to(device);
  return batch;
}

Batch make_batch(const data::PackedReader& reader, std::span<const std::int64_t> indices, at::ScalarType floating,
                 at::Device device, Parts parts) {
  std::vector<data::Sample> samples;
  samples.reserve(indices.size());
  for (const auto index : indices) samples.push_back(reader.sample(index));
  return collate(samples, reader.info(), floating, device, parts);
}

}  // namespace medfuse::train
