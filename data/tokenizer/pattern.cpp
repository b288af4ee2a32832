#include "data/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>
#include <stdexcept>

#include "base/error.h"
#include "data/tokenizer/json_view.h"
#include "data/tokenizer/unicode.h"

namespace medfuse::data {
namespace {

std::string message_of(int error) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR bytes(std::string_view text) {
  // PCRE2 wants a real address even for an empty text.
  return reinterpret_cast<PCRE2_SPTR>(text.data() ? text.data() : "");
}

// What one thread needs for matching: the two offsets of a match, and a stack for compiled expressions that recurse.
struct Workspace {
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, 16 << 20, nullptr);

  Workspace() {
    if (!match || !context) throw std::bad_alloc();
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  Workspace(const Workspace&) = delete;
  ~Workspace() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(match);
  }
};

Workspace& workspace() {
  thread_local Workspace own;
  return own;
}

}  // namespace

struct Pattern::Code {
  pcre2_code* compiled = nullptr;
  Code() = default;
  Code(const Code&) = delete;
  ~Code() { pcre2_code_free(compiled); }
};

Pattern::Pattern(const std::string& expression, bool literal) : shown_(in_quotes(expression)) {
  if (expression.empty()) throw std::invalid_argument("is empty");
  if (!literal) {
    const std::string foreign = foreign_construct(expression);
    if (!foreign.empty()) throw std::invalid_argument("is not supported: " + foreign);
  }
  auto code = std::make_shared<Code>();
  int error = 0;
  PCRE2_SIZE offset = 0;
  const std::uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
  code->compiled = pcre2_compile(bytes(expression), expression.size(), options, &error, &offset, nullptr);
  if (!code->compiled) {
    throw std::invalid_argument(fmt::format("is no regular expression: {} at byte {}", message_of(error), offset));
  }
  std::uint32_t may_be_empty = 0;
  pcre2_pattern_info(code->compiled, PCRE2_INFO_MATCHEMPTY, &may_be_empty);
  if (may_be_empty) throw std::invalid_argument("is not supported: it can match an empty text");
  // Without JIT (it may be disabled on hardened systems) the interpreter gives the same matches, more slowly.
  pcre2_jit_compile(code->compiled, PCRE2_JIT_COMPLETE);
  code_ = std::move(code);
}

void Pattern::find_all(std::string_view text, const std::function<void(std::size_t, std::size_t)>& match) const {
  std::string buffer;
  const std::string_view subject = text_for_matching(text, buffer);
  Workspace& space = workspace();
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(space.match);
  for (std::size_t at = 0; at < subject.size();) {
    int count = pcre2_match(code_->compiled, bytes(subject), subject.size(), at, PCRE2_NO_UTF_CHECK, space.match,
                            space.context);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
      count = pcre2_match(code_->compiled, bytes(subject), subject.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                          space.match, space.context);
    }
    if (count == PCRE2_ERROR_NOMATCH) return;
    if (count < 0) {
      data_error("regular expression {} of the tokenizer fails on a text of {} bytes: {}", shown_, text.size(),
                 message_of(count));
    }
    match(found[0], found[1]);
    // Never empty (see the constructor), so always ahead.
    at = found[1];
  }
}

}  // namespace medfuse::data
