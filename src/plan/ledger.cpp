#include "src/plan/ledger.h"

#include <stdexcept>

namespace medfuse::plan {

const char* name_of(Item item) {
  switch (item) {
    case Item::weights: return "frozen weights";
    case Item::embedding: return "token embedding";
    case Item::gathered: return "gathered weights";
    case Item::adapters: return "adapters (float32 masters)";
    case Item::small_models: return "heads, labs, fusion, estimator";
    case Item::moments: return "AdamW moments";
    case Item::gradients: return "gradients";
    case Item::buckets: return "communication buffers";
    case Item::inputs: return "inputs, angles, keys";
    case Item::residual: return "inputs of blocks";
    case Item::attention: return "kept by attention";
    case Item::feed_forward: return "kept by feed-forward";
    case Item::small_activations: return "kept by labs and fusion";
    case Item::working: return "working memory";
    case Item::cache: return "kept states (up to)";
  }
  throw std::logic_error("name_of: no such item");
}

Held Ledger::hold(Item item, std::int64_t bytes) {
  if (bytes < 0) throw std::logic_error("Ledger: negative memory");
  if (bytes == 0) return nullptr;
  const auto place = static_cast<std::size_t>(item);
  held_[place] += bytes;
  now_ += bytes;
  if (now_ > peak_) {
    peak_ = now_;
    at_peak_ = held_;
  }
  return {this, [this, place, bytes](void*) {
            held_[place] -= bytes;
            now_ -= bytes;
          }};
}

}  // namespace medfuse::plan
