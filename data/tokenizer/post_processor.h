// The "post_processor" of a file: ids that go around those of the text, such as <|begin_of_text|>.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/tokenizer/json_view.h"

namespace medfuse::data {

class PostProcessor {
 public:
  /// `json` may be null. `known` tells whether an id exists. Throws Error(data) naming the key of what is not
  /// supported.
  PostProcessor(const JsonView& json, const std::function<bool(std::int64_t)>& known);

  const std::vector<std::int32_t>& before() const { return before_; }
  const std::vector<std::int32_t>& after() const { return after_; }

 private:
  void read(const JsonView& json, int depth, const std::function<bool(std::int64_t)>& known);
  void read_template(const JsonView& json, const std::function<bool(std::int64_t)>& known);

  std::vector<std::int32_t> before_, after_;
  bool template_seen_ = false;
};

}  // namespace medfuse::data
