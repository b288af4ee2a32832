// medfuse tokenize: lines on standard input -> ids on standard output, as packing would make them.
#include <iostream>

#include "base/error.h"
#include "data/tokenizer/tokenize_lines.h"
#include "launch/command.h"

namespace medfuse::launch {

namespace {

class TokenizeCommand : public Command {
 public:
  std::string name() const override { return "tokenize"; }
  std::string summary() const override { return "lines on stdin -> token ids on stdout, as packing makes them"; }
  std::string usage() const override { return "medfuse tokenize --tokenizer DIR < LINES"; }

  void describe(OptionTable& options) override {
    options.group("Arguments");
    options.add_argument("tokenizer", &tokenizer_, "tokenizer.json, or the folder that holds it");
    options.add("max_tokens", &max_tokens_, "longer lines are cut there; 0: never");
    options.add("special", &special_, "add the tokenizer's own special tokens");
  }

  int run(const OptionTable&, cluster::Process& process) override {
    require(tokenizer_, "tokenizer", "a tokenizer.json, or the folder that holds it");
    if (process.size() > 1) usage_error("tokenize reads standard input: start it alone, without mpirun");
    if (max_tokens_ < 0) usage_error("--max_tokens {} is negative", max_tokens_);
    data::TokenizeLinesOptions options;
    options.add_special_tokens = special_;
    if (max_tokens_ > 0) options.max_tokens = static_cast<std::size_t>(max_tokens_);
    std::ios::sync_with_stdio(false);
    data::tokenize_lines(data::Tokenizer::load(tokenizer_), std::cin, std::cout, options);
    return 0;
  }

 private:
  std::string tokenizer_;
  std::int64_t max_tokens_ = 0;
  bool special_ = true;
};

}  // namespace

std::unique_ptr<Command> tokenize_command() { return std::make_unique<TokenizeCommand>(); }

}  // namespace medfuse::launch
