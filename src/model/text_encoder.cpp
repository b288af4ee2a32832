#include "src/model/text_encoder.h"

#include <cmath>
#include <stdexcept>

#include "base/error.h"
#include "src/model/llama_model.h"
#include "src/model/seed.h"
#include "src/ops/dispatch.h"

namespace medfuse::model {

namespace {

void check_dtype(at::ScalarType dtype) {
  if (!ops::is_kernel_type(dtype)) throw std::logic_error("TextEncoder: dtype must be float32, bfloat16 or float64");
}

/// What of the whole weight was asked for.
at::Tensor part_of(const at::Tensor& weight, const WeightRequest& request) {
  return request.span.whole() ? weight : weight.narrow(request.dim, request.span.begin, request.span.length);
}

/// Matrices of variance 1 / columns and norms of one, as functions of seed and name.
WeightSource random_source(at::ScalarType dtype, std::uint64_t seed, at::Device device) {
  return [dtype, seed, device](const WeightRequest& request) {
    if (request.shape.size() == 1) return at::ones(request.shape, at::device(device).dtype(dtype));
    at::Tensor weight = at::empty(request.shape, dtype);
    seed_uniform(weight, std::sqrt(3.0 / static_cast<double>(request.shape[1])), seed, request.name);
    if (!request.span.whole()) weight = part_of(weight, request).clone(at::MemoryFormat::Contiguous);
    return weight.to(device);
  };
}

WeightSource file_source(const weights::Safetensors& weights, at::ScalarType dtype) {
  // LlamaForCausalLM writes "model.norm.weight", a bare LlamaModel "norm.weight".
  const bool bare = !weights.contains("model.embed_tokens.weight") && weights.contains("embed_tokens.weight");
  return [&weights, dtype, bare](const WeightRequest& request) {
    const std::string stored = bare ? request.name.substr(request.name.find('.') + 1) : request.name;
    const at::Tensor weight = weights.tensor(stored, request.shape, "config.json");
    if (!weight.is_floating_point()) {
      data_error("{}: tensor '{}' holds whole numbers; use weights in F32, BF16, F16 or F64",
                 weights.info(stored).file.string(), stored);
    }
    // Cut before the type changes: of the mapped file only this rank's part is read.
    return part_of(weight, request).to(dtype).contiguous();
  };
}

std::vector<std::int64_t> host_lengths(const at::Tensor& tokens_BL, const at::Tensor& lengths_B) {
  if (tokens_BL.dim() != 2 || tokens_BL.scalar_type() != at::kLong || lengths_B.dim() != 1 ||
      lengths_B.scalar_type() != at::kLong || lengths_B.size(0) != tokens_BL.size(0) || tokens_BL.size(0) == 0) {
    throw std::logic_error("TextEncoder: tokens_BL [B, L] and lengths_B [B] of type int64, B > 0, are needed");
  }
  const at::Tensor host = lengths_B.to(at::kCPU).contiguous();
  const std::int64_t* const begin = host.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> lengths(begin, begin + host.numel());
  for (const std::int64_t length : lengths) {
    if (length < 1 || length > tokens_BL.size(1)) {
      throw std::logic_error("TextEncoder: length " + std::to_string(length) + " outside [1, L]");
    }
  }
  return lengths;
}

}  // namespace

TextEncoder::TextEncoder(const TextOptions& options, const weights::LlamaConfig& config, at::ScalarType dtype,
                         std::uint64_t seed, const TensorParallelPtr& ranks, const WeightStorePtr& store,
                         at::Device device)
    : config_(config) {
  check_dtype(dtype);
  model_ = register_module(
      "model", std::make_shared<LlamaModel>(options, config, seed, random_source(dtype, seed, device), ranks, store));
}

TextEncoder::TextEncoder(const TextOptions& options, const weights::LlamaConfig& config,
                         const weights::Safetensors& weights, at::ScalarType dtype, std::uint64_t seed,
                         const TensorParallelPtr& ranks, const WeightStorePtr& store)
    : config_(config) {
  check_dtype(dtype);
  model_ = register_module(
      "model", std::make_shared<LlamaModel>(options, config, seed, file_source(weights, dtype), ranks, store));
}

std::shared_ptr<TextEncoder> TextEncoder::load(const TextOptions& options, at::ScalarType dtype, std::uint64_t seed,
                                               const TensorParallelPtr& ranks, const WeightStorePtr& store) {
  const weights::LlamaConfig config = weights::read_llama_config(options.model);
  return std::make_shared<TextEncoder>(options, config, weights::Safetensors::open(options.model), dtype, seed, ranks,
                                       store);
}

at::Tensor TextEncoder::hidden(const at::Tensor& tokens_BL, const ops::DropoutKeys& keys) {
  if (tokens_BL.dim() != 2) throw std::logic_error("TextEncoder: tokens_BL [B, L] is needed");
  const at::Tensor lengths_B = at::full({tokens_BL.size(0)}, tokens_BL.size(1), at::kLong);
  const LlamaSequence sequence = model_->pack(tokens_BL, host_lengths(tokens_BL, lengths_B), keys);
  return model_->forward(sequence).view({tokens_BL.size(0), tokens_BL.size(1), width()});
}

at::Tensor TextEncoder::embed(const at::Tensor& tokens_BL, const at::Tensor& lengths_B, const ops::DropoutKeys& keys) {
  return model_->forward_last(model_->pack(tokens_BL, host_lengths(tokens_BL, lengths_B), keys));
}

void TextEncoder::cache_frozen_states(std::int64_t bytes) { model_->cache().resize(bytes); }

std::int64_t TextEncoder::cached_bytes() const { return model_->cache().bytes(); }

void TextEncoder::idle_forward() const { model_->passes().idle_forward(); }

void TextEncoder::idle_backward() const { model_->passes().idle_backward(); }

void TextEncoder::set_recompute(Recompute mode) { model_->set_recompute(mode); }

std::int64_t TextEncoder::width() const { return config_.hidden_size; }

std::int64_t TextEncoder::layers() const { return model_->layers(); }

}  // namespace medfuse::model
