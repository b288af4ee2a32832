#include "data/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <stdexcept>

#include "data/tokenizer/unicode.h"
#include "data/tokenizer/utf8.h"

namespace medfuse::data {
namespace {

constexpr int deepest_sequence = 8;
constexpr const char* gpt2_expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

struct Part {
  Span span;
  bool match;
};

// Joins each match to the part before it (or after it, when walking backwards): a match that follows a match stays
// alone, as does one at the very end of the walk.
std::vector<Span> merge(std::vector<Part> parts, bool with_next) {
  if (with_next) std::reverse(parts.begin(), parts.end());
  std::vector<Span> spans;
  bool previous = false;
  for (const Part& part : parts) {
    if (part.match && !previous && !spans.empty()) {
      (with_next ? spans.back().begin : spans.back().end) = with_next ? part.span.begin : part.span.end;
    } else {
      spans.push_back(part.span);
    }
    previous = part.match;
  }
  if (with_next) std::reverse(spans.begin(), spans.end());
  return spans;
}

}  // namespace

Cutter::Cutter(Pattern pattern, Behavior behavior, bool invert)
    : pattern_{std::move(pattern)}, behavior_(behavior), invert_(invert) {}

Cutter::Cutter(bool individual_digits)
    : behavior_(individual_digits ? Behavior::isolated : Behavior::contiguous) {}

std::vector<Span> Cutter::cut(std::string_view text) const {
  std::vector<Part> parts;
  std::size_t done = 0;
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (done < begin) parts.push_back({{done, begin}, invert_});
    parts.push_back({{begin, end}, !invert_});
    done = end;
  };
  if (pattern_.empty()) {
    for (std::size_t at = 0; at < text.size();) {
      const CodePoint code = code_point_at(text, at);
      if (is_number(code.value)) add(at, at + code.length);
      at += code.length;
    }
  } else {
    pattern_.front().find_all(text, add);
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, invert_});

  std::vector<Span> spans;
  switch (behavior_) {
    case Behavior::isolated:
      for (const Part& part : parts) spans.push_back(part.span);
      break;
    case Behavior::removed:
      for (const Part& part : parts) {
        if (!part.match) spans.push_back(part.span);
      }
      break;
    case Behavior::contiguous:
      for (std::size_t i = 0; i < parts.size(); ++i) {
        if (i > 0 && parts[i].match == parts[i - 1].match) {
          spans.back().end = parts[i].span.end;
        } else {
          spans.push_back(parts[i].span);
        }
      }
      break;
    case Behavior::merged_with_previous: return merge(std::move(parts), false);
    case Behavior::merged_with_next: return merge(std::move(parts), true);
  }
  return spans;
}

PreTokenizer::PreTokenizer(const JsonView& json) {
  if (json.is_null()) json.fail("is null: only byte-level tokenizers are supported");
  read(json, 0);
  if (!has_byte_level_) json.fail("has no ByteLevel step: only byte-level tokenizers are supported");
}

void PreTokenizer::read(const JsonView& json, int depth) {
  const std::string& type = json.at("type").text();
  if (has_byte_level_) json.fail("follows ByteLevel, which must be the last step");
  if (type == "Sequence") {
    if (depth == deepest_sequence) json.fail("lies too deep in other sequences");
    json.allow({"type", "pretokenizers"});
    const JsonView steps = json.at("pretokenizers");
    for (std::size_t i = 0; i < steps.size(); ++i) read(steps.at(i), depth + 1);
  } else if (type == "Digits") {
    json.allow({"type", "individual_digits"});
    cutters_.emplace_back(json.at("individual_digits").boolean());
  } else if (type == "Split") {
    read_split(json);
  } else if (type == "ByteLevel") {
    json.allow({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    has_byte_level_ = true;
    add_prefix_space_ = json.at("add_prefix_space").boolean();
    if (json.boolean_or("use_regex", true)) {
      byte_level_cutter_.emplace_back(Pattern(gpt2_expression), Cutter::Behavior::isolated, false);
    }
  } else {
    json.at("type").fail(
        fmt::format("{} is not supported (Sequence, Split, Digits and ByteLevel are)", in_quotes(type)));
  }
}

void PreTokenizer::read_split(const JsonView& json) {
  json.allow({"type", "pattern", "behavior", "invert"});
  const JsonView pattern = json.at("pattern");
  pattern.allow({"Regex", "String"});
  const bool literal = pattern.has("String");
  if (literal == pattern.has("Regex")) pattern.fail("must have either Regex or String");
  const JsonView expression = pattern.at(literal ? "String" : "Regex");

  const JsonView behavior = json.at("behavior");
  const std::pair<const char*, Cutter::Behavior> behaviors[] = {
      {"Removed", Cutter::Behavior::removed},
      {"Isolated", Cutter::Behavior::isolated},
      {"MergedWithPrevious", Cutter::Behavior::merged_with_previous},
      {"MergedWithNext", Cutter::Behavior::merged_with_next},
      {"Contiguous", Cutter::Behavior::contiguous},
  };
  const auto chosen = std::find_if(std::begin(behaviors), std::end(behaviors),
                                   [&](const auto& entry) { return entry.first == behavior.text(); });
  if (chosen == std::end(behaviors)) behavior.fail(fmt::format("{} is not supported", in_quotes(behavior.text())));
  try {
    cutters_.emplace_back(Pattern(expression.text(), literal), chosen->second, json.at("invert").boolean());
  } catch (const std::invalid_argument& reason) {
    expression.fail(reason.what());
  }
}

void PreTokenizer::words(std::string_view text, const std::function<void(std::string_view)>& word) const {
  if (!text.empty()) run(0, text, word);
}

void PreTokenizer::run(std::size_t step, std::string_view piece,
                       const std::function<void(std::string_view)>& word) const {
  if (step == cutters_.size()) return byte_level(piece, word);
  for (const Span span : cutters_[step].cut(piece)) {
    run(step + 1, piece.substr(span.begin, span.end - span.begin), word);
  }
}

void PreTokenizer::byte_level(std::string_view piece, const std::function<void(std::string_view)>& word) const {
  std::string prefixed;
  if (add_prefix_space_ && piece.front() != ' ') {
    prefixed.reserve(piece.size() + 1);
    prefixed += ' ';
    prefixed += piece;
    piece = prefixed;
  }
  if (byte_level_cutter_.empty()) return word(piece);
  for (const Span span : byte_level_cutter_.front().cut(piece)) word(piece.substr(span.begin, span.end - span.begin));
}

}  // namespace medfuse::data
