// Byte-pair encoding of one word: the "model" of a tokenizer.json.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/tokenizer/json_view.h"

namespace medfuse::data {

class BytePairs {
 public:
  /// Throws Error(data) naming the key of what is broken or not supported.
  explicit BytePairs(const JsonView& json);

  /// Appends the ids of `word`, which is not empty. Bytes that the vocabulary lacks become the unknown token, or
  /// nothing if the file names none.
  void encode(std::string_view word, std::vector<std::int32_t>& ids) const;

  std::optional<std::int32_t> find(const std::string& token) const;
  const std::string* token(std::int32_t id) const;
  std::size_t size() const { return ids_.size(); }
  std::int32_t largest_id() const { return largest_id_; }

 private:
  struct Merge {
    std::int32_t rank = -1, id = -1;
  };
  // Open addressing with a power-of-two size: pairs are looked up several times for each byte of text.
  class MergeTable {
   public:
    void reserve(std::size_t count);
    void set(std::int32_t left, std::int32_t right, Merge merge);
    Merge find(std::int32_t left, std::int32_t right) const;  ///< rank -1: there is none.

   private:
    struct Slot {
      std::int32_t left = -1, right = -1;
      Merge merge;
    };
    std::size_t slot_of(std::int32_t left, std::int32_t right) const;
    std::vector<Slot> slots_;
  };

  void read_vocabulary(const JsonView& json);
  void read_merges(const JsonView& json);
  void merge(std::vector<std::int32_t>& symbols) const;
  std::vector<std::int32_t> symbols_of(std::string_view word) const;

  std::unordered_map<std::string, std::int32_t> ids_;
  std::unordered_map<std::int32_t, const std::string*> tokens_;  // Points into ids_.
  std::unordered_map<std::string, std::int32_t> words_;          // By the bytes meant; only with ignore_merges_.
  std::array<std::int32_t, 256> bytes_{};                        // -1: not in the vocabulary.
  MergeTable merges_;
  std::optional<std::int32_t> unknown_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
  std::int32_t largest_id_ = -1;
};

}  // namespace medfuse::data
