// The memory of one rank while a step is rehearsed: what is held, for what, and what was held when it was most.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace medfuse::plan {

/// What memory is for. The order is that of the printed table.
enum class Item : std::size_t {
  weights,          ///< frozen blocks of the text encoder, or this rank's share of them
  embedding,        ///< its token embedding
  gathered,         ///< ZeRO-3: blocks that are whole, or on their way
  adapters,         ///< LoRA factors, which are their own float32 masters
  small_models,     ///< heads, lab transformer, fusion transformer and vCLUB estimator
  moments,          ///< AdamW
  gradients,
  buckets,          ///< gradients and parameters that travel, and what a sum over MPI stages
  inputs,           ///< tokens, rotary angles, dropout keys, labs
  residual,         ///< inputs of blocks and of their halves
  attention,        ///< kept for the attention's backward pass, norm and projections included
  feed_forward,     ///< the same of the gated feed-forward part
  small_activations,  ///< lab transformer, fusion, estimator
  working,          ///< that operations need while they run
  cache,            ///< text.cache_mib
};
inline constexpr std::size_t kItems = static_cast<std::size_t>(Item::cache) + 1;
using Bytes = std::array<std::int64_t, kItems>;

/// Name in tables.
const char* name_of(Item item);

/// Memory that is held; given back with the last copy. Null: none.
using Held = std::shared_ptr<void>;

/// Outlives all that it hands out.
class Ledger {
 public:
  Ledger() = default;
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  Held hold(Item item, std::int64_t bytes);

  std::int64_t now() const { return now_; }
  std::int64_t peak() const { return peak_; }
  /// Of each item when the sum was at its peak.
  const Bytes& at_peak() const { return at_peak_; }

 private:
  Bytes held_{};
  Bytes at_peak_{};
  std::int64_t now_ = 0;
  std::int64_t peak_ = 0;
};

}  // namespace medfuse::plan
