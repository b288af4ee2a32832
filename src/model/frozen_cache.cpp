#include "src/model/frozen_cache.h"

namespace medfuse::model {

void FrozenCache::resize(std::int64_t bytes) {
  states_.clear();
  bytes_ = 0;
  limit_ = bytes;
}

at::Tensor FrozenCache::find(const std::string& key) const {
  const auto found = states_.find(key);
  return found == states_.end() ? at::Tensor() : found->second;
}

void FrozenCache::add(const std::string& key, const at::Tensor& states_LD) {
  const std::int64_t size = static_cast<std::int64_t>(states_LD.nbytes() + key.size());
  if (bytes_ + size > limit_) return;
  if (states_.emplace(key, states_LD).second) bytes_ += size;
}

std::string FrozenCache::key_of(const at::Tensor& tokens_L) {
  const at::Tensor tokens = tokens_L.contiguous();
  return {static_cast<const char*>(tokens.const_data_ptr()), tokens.nbytes()};
}

}  // namespace medfuse::model
