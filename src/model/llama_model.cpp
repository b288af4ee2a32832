#include "src/model/llama_model.h"

#include <torch/nn/modules/container/modulelist.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "src/ops/dispatch.h"

namespace medfuse::model {

namespace {

std::set<std::int64_t> adapted_layers(const LoraOptions& lora, std::int64_t count) {
  if (lora.rank < 0) usage_error("text.lora_rank: {} is negative; 0 switches adapters off", lora.rank);
  if (lora.rank == 0) return {};
  if (!(lora.alpha > 0)) usage_error("text.lora_alpha: {} must be greater than 0", lora.alpha);
  if (!(lora.dropout >= 0 && lora.dropout < 1)) usage_error("text.lora_dropout: {} must lie in [0, 1)", lora.dropout);
  check_lora_targets(lora.targets);
  const std::vector<std::int64_t> layers = parse_lora_layers(lora.layers, count);
  return {layers.begin(), layers.end()};
}

std::int64_t layer_count(const TextOptions& options, const weights::LlamaConfig& config) {
  if (options.layers < 0 || options.layers > config.num_hidden_layers) {
    usage_error("text.layers: {} must lie between 0 (all) and the {} blocks of the model", options.layers,
                config.num_hidden_layers);
  }
  return options.layers == 0 ? config.num_hidden_layers : options.layers;
}

}  // namespace

LlamaModel::LlamaModel(const TextOptions& options, const weights::LlamaConfig& config, std::uint64_t seed,
                       const WeightSource& source, const TensorParallelPtr& ranks, const WeightStorePtr& store)
    : vocabulary_(config.vocab_size), ranks_(ranks), rope_(config) {
  check_tensor_degree(ranks->size, config.num_attention_heads, config.num_key_value_heads, config.intermediate_size);
  const std::int64_t count = layer_count(options, config);
  const std::set<std::int64_t> adapted = adapted_layers(options.lora, count);
  auto embedding = std::make_shared<torch::nn::Module>();
  embedding_VD_ = embedding->register_buffer(
      "weight", source({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}, 0, {}}));
  register_module("embed_tokens", embedding);
  if (store) store->adopt({embedding_VD_}, {});
  frozen_ = static_cast<std::size_t>(adapted.empty() ? count - 1 : std::min(*adapted.begin(), count - 1));
  torch::nn::ModuleList list;
  const LlamaBuild build{config, options.lora, seed, source, ranks};
  for (std::int64_t layer = 0; layer < count; ++layer) {
    blocks_.push_back(std::make_shared<LlamaBlock>(build, layer, adapted.contains(layer)));
    list->push_back(blocks_.back());
    if (store) store->adopt(blocks_.back()->buffers(), blocks_.back()->parameters());
  }
  const std::size_t units = blocks_.size() + 1;
  passes_ = WeightPasses(store, units, adapted.empty() ? units : frozen_ + 1);
  register_module("layers", list);
  norm_ = register_module("norm", std::make_shared<LlamaNorm>(source({"model.norm.weight", {config.hidden_size}, 0, {}}),
                                                              config.rms_norm_eps));
}

LlamaSequence LlamaModel::pack(const at::Tensor& tokens_BL, const std::vector<std::int64_t>& lengths,
                               const ops::DropoutKeys& keys) {
  const torch::NoGradGuard no_grad;
  std::vector<std::int64_t> places;     // in the flattened tokens_BL
  std::vector<std::int64_t> samples;
  std::vector<std::int64_t> positions;
  std::vector<std::int64_t> last;
  for (std::size_t b = 0; b < lengths.size(); ++b) {
    for (std::int64_t i = 0; i < lengths[b]; ++i) {
      samples.push_back(static_cast<std::int64_t>(b));
      positions.push_back(i);
      places.push_back(static_cast<std::int64_t>(b) * tokens_BL.size(1) + i);
    }
    last.push_back(static_cast<std::int64_t>(places.size()) - 1);
  }
  const at::Device device = embedding_VD_.device();
  LlamaSequence sequence;
  sequence.lengths = lengths;
  sequence.tokens_T = tokens_BL.reshape(-1).index_select(0, torch::tensor(places).to(tokens_BL.device()));
  const auto [lowest, highest] = at::aminmax(sequence.tokens_T);
  if (lowest.item<std::int64_t>() < 0 || highest.item<std::int64_t>() >= vocabulary_) {
    data_error("token ids reach from {} to {}, but the model knows 0 to {}; pack the data with this model's tokenizer",
               lowest.item<std::int64_t>(), highest.item<std::int64_t>(), vocabulary_ - 1);
  }
  sequence.tokens_T = sequence.tokens_T.to(device);
  const at::Tensor positions_T = torch::tensor(positions).to(device);
  sequence.last_B = torch::tensor(last).to(device);
  rope_.reserve(*std::max_element(lengths.begin(), lengths.end()), ops::wide_type(embedding_VD_.scalar_type()), device);
  LlamaRows& all = sequence.all;
  LlamaRows& last_rows = sequence.last;
  all.cos_NF = rope_.cos().index_select(0, positions_T);
  all.sin_NF = rope_.sin().index_select(0, positions_T);
  last_rows.cos_NF = all.cos_NF.index_select(0, sequence.last_B);
  last_rows.sin_NF = all.sin_NF.index_select(0, sequence.last_B);
  if (keys.sample_keys_B.defined()) {
    all.keys = {keys.sample_keys_B.to(device).index_select(0, torch::tensor(samples).to(device)), positions_T};
    last_rows.keys = {all.keys.sample_keys_B.index_select(0, sequence.last_B), positions_T.index_select(0, sequence.last_B)};
    all.own_keys = all.keys;
    last_rows.own_keys = last_rows.keys;
  }
  return sequence;
}

LlamaSequence LlamaModel::split(const LlamaSequence& sequence) const {
  LlamaSequence parts = sequence;
  LlamaRows& rows = parts.all;
  rows.share = RowShare(ranks_, sequence.tokens_T.size(0));
  if (rows.keys.sample_keys_B.defined()) {
    rows.own_keys = {rows.share.own(rows.keys.sample_keys_B), rows.share.own(rows.keys.tokens_B)};
  }
  return parts;
}

void LlamaModel::set_recompute(Recompute mode) {
  for (const auto& block : blocks_) block->set_recompute(mode);
}

at::Tensor LlamaModel::frozen_states(const LlamaSequence& sequence) {
  // No adapter, nothing to learn and no dropout down here.
  const torch::NoGradGuard no_grad;
  const auto run = [&](const LlamaSequence& part) {
    passes_.forward(0);
    at::Tensor hidden_TD = embedding_VD_.index_select(0, part.tokens_T);
    for (std::size_t i = 0; i < frozen_; ++i) hidden_TD = run_block(i, hidden_TD, part);
    return hidden_TD;
  };
  if (!cache_.enabled() || frozen_ == 0) return run(sequence);
  // Each sample alone: rounding then depends on its tokens only, and a result never on what the cache holds.
  std::vector<at::Tensor> states;
  for (const at::Tensor& tokens_L : sequence.tokens_T.to(at::kCPU).split_with_sizes(sequence.lengths)) {
    const std::string key = FrozenCache::key_of(tokens_L);
    at::Tensor state_LD = cache_.find(key);
    if (!state_LD.defined()) {
      state_LD = run(pack(tokens_L.unsqueeze(0), {tokens_L.size(0)}, {}));
      cache_.add(key, state_LD);
    }
    states.push_back(state_LD.to(embedding_VD_.device()));
  }
  return at::cat(states, 0);
}

at::Tensor LlamaModel::run_block(std::size_t block, const at::Tensor& hidden_ND, const LlamaSequence& sequence,
                                 bool last_only) {
  passes_.forward(block + 1);
  LlamaBlock& used = *blocks_[block];
  const at::Tensor result_ND = last_only ? used.forward_last(hidden_ND, sequence) : used.forward(hidden_ND, sequence);
  return passes_.on_the_way_back(block + 1, result_ND);
}

at::Tensor LlamaModel::learning_states(const LlamaSequence& sequence, std::size_t end) {
  if (end == frozen_) return frozen_states(sequence);
  const LlamaSequence parts = split(sequence);
  const RowShare& share = parts.all.share;
  at::Tensor hidden_ND = share.own(frozen_states(sequence));
  for (std::size_t i = frozen_; i < end; ++i) hidden_ND = run_block(i, hidden_ND, parts);
  return share.joined(hidden_ND);
}

at::Tensor LlamaModel::forward(const LlamaSequence& sequence) {
  return norm_->forward(learning_states(sequence, blocks_.size()));
}

at::Tensor LlamaModel::forward_last(const LlamaSequence& sequence) {
  const at::Tensor hidden_TD = learning_states(sequence, blocks_.size() - 1);
  return norm_->forward(run_block(blocks_.size() - 1, hidden_TD, sequence, true));
}

}  // namespace medfuse::model
