#include "data/tokenizer/post_processor.h"

namespace medfuse::data {

PostProcessor::PostProcessor(const JsonView& json, const std::function<bool(std::int64_t)>& known) {
  if (!json.is_null()) read(json, 0, known);
}

void PostProcessor::read(const JsonView& json, int depth, const std::function<bool(std::int64_t)>& known) {
  const std::string& type = json.at("type").text();
  if (type == "ByteLevel") {
    // Concerns offsets into the text only.
    json.allow({"type", "add_prefix_space", "trim_offsets", "use_regex"});
  } else if (type == "TemplateProcessing") {
    read_template(json, known);
  } else if (type == "Sequence" && depth < 8) {
    json.allow({"type", "processors"});
    const JsonView steps = json.at("processors");
    for (std::size_t i = 0; i < steps.size(); ++i) read(steps.at(i), depth + 1, known);
  } else {
    json.at("type").fail(
        fmt::format("{} is not supported (TemplateProcessing, ByteLevel and Sequence are)", in_quotes(type)));
  }
}

void PostProcessor::read_template(const JsonView& json, const std::function<bool(std::int64_t)>& known) {
  json.allow({"type", "single", "pair", "special_tokens"});
  const JsonView pieces = json.at("single");
  std::vector<std::int32_t> before, after;
  bool text_seen = false;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const JsonView piece = pieces.at(i);
    piece.allow({"Sequence", "SpecialToken"});
    if (piece.has("Sequence") == piece.has("SpecialToken")) piece.fail("must be either a Sequence or a SpecialToken");
    if (piece.has("Sequence")) {
      if (piece.at("Sequence").at("id").text() != "A" || text_seen) piece.fail("must be the text (A), once");
      text_seen = true;
      continue;
    }
    const std::string& name = piece.at("SpecialToken").at("id").text();
    const JsonView ids = json.at("special_tokens").at(name).at("ids");
    for (std::size_t k = 0; k < ids.size(); ++k) {
      const std::int64_t id = ids.at(k).number((std::int64_t{1} << 31) - 2);
      if (!known(id)) ids.at(k).fail(fmt::format("is {}, an id of no token", id));
      (text_seen ? after : before).push_back(static_cast<std::int32_t>(id));
    }
  }
  if (!text_seen) pieces.fail("lacks the text (A)");
  // The package hands what a first template made to the next one as several texts.
  if (template_seen_) json.fail("is a second template: not supported");
  template_seen_ = true;
  before_ = std::move(before);
  after_ = std::move(after);
}

}  // namespace medfuse::data
