// Which regular expressions mean the same to Oniguruma's Ruby syntax and to PCRE2.
#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <vector>

#include "data/tokenizer/pattern.h"
#include "data/tokenizer/utf8.h"

namespace medfuse::data {
namespace {

// Not C and its parts: what is assigned depends on the Unicode version.
constexpr std::array<std::string_view, 27> categories = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc",
                                                         "Me", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps",
                                                         "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So"};

class Check {
 public:
  explicit Check(std::string_view expression) : text_(expression) {}

  std::string run() {
    while (at_ < text_.size() && problem_.empty()) step();
    if (problem_.empty() && !groups_.empty()) problem_ = "a group is not closed";
    return problem_;
  }

 private:
  bool next_is(std::string_view what) const { return text_.substr(at_, what.size()) == what; }
  bool ignores_case() const { return std::find(groups_.begin(), groups_.end(), true) != groups_.end(); }

  void step() {
    switch (text_[at_]) {
      case '\\': return escape(), quantifier();
      case '[': return char_class(), quantifier();
      case '(': return open();
      case ')':
        if (groups_.empty()) return fail("a group is closed that was not opened");
        groups_.pop_back();
        ++at_;
        return quantifier();
      case '|': ++at_; return;
      case '^':
      case '$':
      case '.': return fail(std::string("an unescaped ") + text_[at_]);
      case '*':
      case '+':
      case '?':
      case '{':
      case '}':
      case ']': return fail(std::string("a bare ") + text_[at_]);
      default: return literal(), quantifier();
    }
  }

  void fail(std::string reason) { problem_ = std::move(reason); }

  void open() {
    for (const std::string_view kind : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:"}) {
      if (next_is(kind)) {
        groups_.push_back(kind == "(?i:");
        at_ += kind.size();
        return;
      }
    }
    if (next_is("(?") || next_is("(*")) return fail("a group that is none of (?: (?i: (?= (?! (?<= (?<!");
    groups_.push_back(false);
    ++at_;
  }

  void literal() {
    const std::size_t length = code_point_at(text_, at_).length;
    // Folding of letters beyond ASCII differs (one letter may match several).
    if (length > 1 && ignores_case()) return fail("letters beyond ASCII without regard to case");
    at_ += length;
  }

  // `single` tells whether the escape stands for one character.
  void escape(bool* single = nullptr) {
    if (single) *single = true;
    if (at_ + 1 >= text_.size()) return fail("a backslash at the end");
    const char kind = text_[at_ + 1];
    if (kind == 'p' || kind == 'P') {
      const std::size_t end = text_.find('}', at_);
      if (at_ + 2 >= text_.size() || text_[at_ + 2] != '{' || end == std::string_view::npos) {
        return fail("\\p without braces");
      }
      const std::string_view name = text_.substr(at_ + 3, end - at_ - 3);
      if (std::find(categories.begin(), categories.end(), name) == categories.end()) {
        return fail("a \\p{...} that is no general category of letters, marks, numbers, punctuation or symbols");
      }
      if (ignores_case() && name.size() == 2 && name[0] == 'L') return fail("\\p{" + std::string(name) + "} in (?i:");
      if (single) *single = false;
      at_ = end + 1;
      return;
    }
    if (kind == 's' || kind == 'S') {
      if (single) *single = false;
    } else if (std::isalnum(static_cast<unsigned char>(kind)) && kind != 'r' && kind != 'n' && kind != 't') {
      return fail(std::string("\\") + kind);
    } else if (static_cast<unsigned char>(kind) >= 0x80) {
      return fail("a backslash before a character beyond ASCII");
    }
    at_ += 2;
  }

  void char_class() {
    ++at_;
    if (next_is("^")) ++at_;
    bool first = true, previous_single = false;
    for (; at_ < text_.size() && problem_.empty(); first = false) {
      if (text_[at_] == ']') {
        if (first) return fail("a class that begins with ]");
        ++at_;
        return;
      }
      if (text_[at_] == '[') return fail("a class within a class");
      if (next_is("&&")) return fail("an intersection of classes");
      if (text_[at_] == '-') {
        ++at_;
        const bool last = next_is("]");
        if (first || last) {
          previous_single = false;
          continue;
        }
        if (!previous_single) return fail("a - that neither makes a range nor stands at an end of its class");
        if (!class_item()) return problem_.empty() ? fail("a range that ends in a class") : void();
        previous_single = false;
        continue;
      }
      previous_single = class_item();
    }
    if (problem_.empty()) fail("a class is not closed");
  }

  // Steps over one item; true if it stands for one character.
  bool class_item() {
    if (at_ < text_.size() && text_[at_] == '\\') {
      bool single = false;
      escape(&single);
      return single;
    }
    if (at_ >= text_.size() || text_[at_] == '[' || text_[at_] == '-') {
      fail("a range without end");
      return false;
    }
    literal();
    return true;
  }

  void quantifier() {
    if (!problem_.empty() || at_ >= text_.size()) return;
    const char kind = text_[at_];
    if (kind == '?' || kind == '*' || kind == '+') {
      ++at_;
      // Possessive (+) and lazy (?) forms exist in both.
      if (next_is("+") || next_is("?")) ++at_;
    } else if (kind == '{') {
      std::size_t end = at_ + 1;
      while (end < text_.size() && (std::isdigit(static_cast<unsigned char>(text_[end])) || text_[end] == ',')) ++end;
      const std::string_view inside = text_.substr(at_ + 1, end - at_ - 1);
      if (end >= text_.size() || text_[end] != '}' || inside.empty() || inside[0] == ',' ||
          std::count(inside.begin(), inside.end(), ',') > 1) {
        return fail("a { that begins no {n}, {n,} or {n,m}");
      }
      at_ = end + 1;
      if (next_is("?")) return fail("a lazy {n,m}");
    } else {
      return;
    }
    if (next_is("?") || next_is("*") || next_is("+") || next_is("{")) fail("two quantifiers in a row");
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<bool> groups_;  // Open groups; true: without regard to case.
  std::string problem_;
};

}  // namespace

std::string foreign_construct(std::string_view expression) {
  if (valid_utf8_prefix(expression) != expression.size()) return "not valid UTF-8";
  return Check(expression).run();
}

}  // namespace medfuse::data
