// Remembers the ids of words: the same few thousand words make up most of any text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace medfuse::data {

/// Used by one thread at a time.
class WordCache {
 public:
  /// Appends the ids of `word`, found out by `encode(word, ids)` the first time.
  template <class Encode>
  void append(std::string_view word, std::vector<std::int32_t>& ids, const Encode& encode) {
    constexpr std::size_t longest_word = 64, most_words = 1 << 16;
    if (word.size() > longest_word) return encode(word, ids);
    const auto found = entries_.find(word);
    if (found != entries_.end()) {
      const auto from = stored_.begin() + static_cast<std::ptrdiff_t>(found->second.begin);
      ids.insert(ids.end(), from, from + found->second.count);
      return;
    }
    if (entries_.size() == most_words) {
      entries_.clear();
      stored_.clear();
    }
    const std::size_t begin = ids.size();
    encode(word, ids);
    entries_.emplace(word, Entry{stored_.size(), static_cast<std::ptrdiff_t>(ids.size() - begin)});
    stored_.insert(stored_.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin), ids.end());
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };
  struct Entry {
    std::size_t begin;
    std::ptrdiff_t count;
  };
  std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries_;
  std::vector<std::int32_t> stored_;
};

/// Lends a cache to each caller, so that callers on several threads never share one.
class WordCaches {
 public:
  std::unique_ptr<WordCache> borrow() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return std::make_unique<WordCache>();
    auto cache = std::move(idle_.back());
    idle_.pop_back();
    return cache;
  }
  void give_back(std::unique_ptr<WordCache> cache) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(cache));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<WordCache>> idle_;
};

}  // namespace medfuse::data
