// The "normalizer" of a file: nothing, or Unicode's canonical composition (NFC).
#pragma once

#include <string>
#include <string_view>

#include "data/tokenizer/json_view.h"

namespace medfuse::data {

class Normalizer {
 public:
  /// `json` may be null. Throws Error(data) naming the key of what is not supported.
  explicit Normalizer(const JsonView& json);

  bool changes_text() const { return compose_; }

  /// The normal form of `text` (valid UTF-8).
  std::string apply(std::string_view text) const;

 private:
  void read(const JsonView& json, int depth);
  bool compose_ = false;
};

}  // namespace medfuse::data
