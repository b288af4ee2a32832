#include "data/tokenizer/tokenizer.h"

#include <algorithm>

#include "base/checksum.h"
#include "base/error.h"
#include "base/files.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/byte_alphabet.h"
#include "data/tokenizer/byte_pairs.h"
#include "data/tokenizer/json_view.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/post_processor.h"
#include "data/tokenizer/pre_tokenizer.h"
#include "data/tokenizer/utf8.h"
#include "data/tokenizer/word_cache.h"

namespace medfuse::data {
namespace {

constexpr std::int64_t largest_number = (std::int64_t{1} << 31) - 2;

struct Truncation {
  std::size_t max_tokens = 0;
  Tokenizer::Side side = Tokenizer::Side::right;
};

const nlohmann::json absent;  // null

JsonView optional_part(const JsonView& document, const std::string& key) {
  return document.has(key) ? document.at(key) : JsonView(absent, document.file(), key);
}

std::optional<Truncation> read_truncation(const JsonView& json, const PostProcessor& post_processor) {
  if (json.is_null()) return std::nullopt;
  json.allow({"direction", "max_length", "strategy", "stride"});
  Truncation truncation;
  truncation.max_tokens = static_cast<std::size_t>(json.at("max_length").number(largest_number));
  const std::string direction = json.text_or("direction", "Right");
  if (direction != "Right" && direction != "Left") json.at("direction").fail("must be Right or Left");
  truncation.side = direction == "Right" ? Tokenizer::Side::right : Tokenizer::Side::left;
  const std::string strategy = json.text_or("strategy", "LongestFirst");
  if (strategy != "LongestFirst" && strategy != "OnlyFirst") {
    json.at("strategy").fail(fmt::format("{} is not supported (LongestFirst and OnlyFirst are)", in_quotes(strategy)));
  }
  const std::size_t added = post_processor.before().size() + post_processor.after().size();
  const std::int64_t stride = json.has("stride") ? json.at("stride").number(largest_number) : 0;
  if (truncation.max_tokens < added ||
      (stride > 0 && static_cast<std::size_t>(stride) >= truncation.max_tokens - added)) {
    json.at("max_length").fail("leaves no room beside the stride and the tokens that the post_processor adds");
  }
  return truncation;
}

enum class Decoding { byte_level, blanks };

Decoding read_decoder(const JsonView& json) {
  if (json.is_null()) return Decoding::blanks;
  const std::string& type = json.at("type").text();
  if (type != "ByteLevel") json.at("type").fail(fmt::format("{} is not supported (ByteLevel is)", in_quotes(type)));
  return Decoding::byte_level;
}

// A token in tokenizer_config.json is a string or an object with its content.
std::optional<std::string> configured_token(const JsonView& config, const std::string& key) {
  if (!config.has(key)) return std::nullopt;
  const JsonView value = config.at(key);
  return value.is_object() ? value.at("content").text() : value.text();
}

}  // namespace

struct Tokenizer::Parts {
  std::filesystem::path file;
  std::string fingerprint;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  BytePairs model;
  AddedTokens added;
  PostProcessor post_processor;
  std::optional<Truncation> truncation;
  Decoding decoding;
  std::optional<std::int32_t> pad, eos;
  mutable WordCaches caches;

  explicit Parts(const JsonView& document)
      : file(document.file()),
        normalizer(optional_part(document, "normalizer")),
        pre_tokenizer(optional_part(document, "pre_tokenizer")),
        model(document.at("model")),
        added(optional_part(document, "added_tokens"), normalizer,
              [this](const std::string& token) { return model.find(token); }, model.size()),
        post_processor(optional_part(document, "post_processor"),
                       [this](std::int64_t id) { return token_of(static_cast<std::int32_t>(id)) != nullptr; }),
        truncation(read_truncation(optional_part(document, "truncation"), post_processor)),
        decoding(read_decoder(optional_part(document, "decoder"))) {
    read_padding(optional_part(document, "padding"));
  }

  void read_padding(const JsonView& json) {
    if (json.is_null()) return;
    const JsonView id = json.at("pad_id");
    pad = static_cast<std::int32_t>(id.number(largest_number));
    if (!token_of(*pad)) id.fail(fmt::format("is {}, an id of no token", *pad));
  }

  void read_config(const JsonView& config) {
    const auto id_of = [&](const std::string& key) -> std::optional<std::int32_t> {
      const auto token = configured_token(config, key);
      if (!token) return std::nullopt;
      const auto id = find(*token);
      if (!id) config.at(key).fail(fmt::format("is {}, which {} lacks", in_quotes(*token), file.filename().string()));
      return id;
    };
    const auto configured_pad = id_of("pad_token");
    if (!pad) pad = configured_pad;
    eos = id_of("eos_token");
  }

  std::optional<std::int32_t> find(const std::string& token) const {
    const auto id = added.find(token);
    return id ? id : model.find(token);
  }

  const std::string* token_of(std::int32_t id) const {
    const std::string* content = added.content(id);
    return content ? content : model.token(id);
  }

  std::vector<std::int32_t> text_ids(std::string_view text) const;
  std::vector<std::int32_t> finish(std::vector<std::int32_t> ids, std::optional<std::size_t> room, Side side,
                                   bool add_special_tokens) const;
};

std::vector<std::int32_t> Tokenizer::Parts::text_ids(std::string_view text) const {
  std::string repaired;
  if (valid_utf8_prefix(text) != text.size()) {
    repaired = repair_utf8(text);
    text = repaired;
  }
  std::vector<std::int32_t> ids;
  ids.reserve(text.size() / 3);
  auto cache = caches.borrow();
  const auto encode_word = [this](std::string_view word, std::vector<std::int32_t>& out) { model.encode(word, out); };
  const std::function<void(std::string_view)> word = [&](std::string_view one) {
    cache->append(one, ids, encode_word);
  };
  added.before_normalizing().split(text, [&](std::optional<std::int32_t> token, std::string_view outer) {
    if (token) return ids.push_back(*token);
    std::string normal;
    if (normalizer.changes_text()) {
      normal = normalizer.apply(outer);
      outer = normal;
    }
    added.after_normalizing().split(outer, [&](std::optional<std::int32_t> inner_token, std::string_view inner) {
      if (inner_token) return ids.push_back(*inner_token);
      pre_tokenizer.words(inner, word);
    });
  });
  caches.give_back(std::move(cache));
  return ids;
}

std::vector<std::int32_t> Tokenizer::Parts::finish(std::vector<std::int32_t> ids, std::optional<std::size_t> room,
                                                   Side side, bool add_special_tokens) const {
  if (room && ids.size() > *room) {
    if (side == Side::left) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(*room));
    ids.resize(*room);
  }
  if (add_special_tokens) {
    ids.insert(ids.begin(), post_processor.before().begin(), post_processor.before().end());
    ids.insert(ids.end(), post_processor.after().begin(), post_processor.after().end());
  }
  return ids;
}

Tokenizer::Tokenizer(std::shared_ptr<const Parts> parts) : parts_(std::move(parts)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& path) {
  const bool is_folder = std::filesystem::is_directory(path);
  const std::filesystem::path file = is_folder ? path / "tokenizer.json" : path;
  if (!std::filesystem::exists(file)) {
    data_error("{}: is not there; name a Hugging Face folder with a tokenizer.json, or that file", file.string());
  }
  const std::string content = read_file(file);
  const nlohmann::json document = parse_json(content, file);
  const JsonView view(document, file);
  if (!view.is_object()) view.fail("must be an object");
  if (view.has("version") && view.at("version").text() != "1.0") view.at("version").fail("must be \"1.0\"");
  auto parts = std::make_shared<Parts>(view);
  parts->fingerprint = hex(file_checksum(file));

  const std::filesystem::path config_file = path / "tokenizer_config.json";
  if (is_folder && std::filesystem::exists(config_file)) {
    const nlohmann::json config = parse_json(read_file(config_file), config_file);
    parts->read_config(JsonView(config, config_file));
  }
  return Tokenizer(std::move(parts));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  const PostProcessor& post = parts_->post_processor;
  std::optional<std::size_t> room;
  if (parts_->truncation) {
    room = parts_->truncation->max_tokens;
    if (add_special_tokens) *room -= post.before().size() + post.after().size();
  }
  return parts_->finish(parts_->text_ids(text), room, parts_->truncation ? parts_->truncation->side : Side::right,
                        add_special_tokens);
}

std::vector<std::int32_t> Tokenizer::encode_at_most(std::string_view text, std::size_t max_tokens, Side side,
                                                    bool add_special_tokens) const {
  const std::size_t added =
      add_special_tokens ? parts_->post_processor.before().size() + parts_->post_processor.after().size() : 0;
  if (max_tokens <= added) {
    usage_error("a length of {} tokens leaves no room for text beside the {} that {} adds: raise it", max_tokens, added,
                parts_->file.string());
  }
  return parts_->finish(parts_->text_ids(text), max_tokens - added, side, add_special_tokens);
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const {
  std::string text;
  bool first = true;
  for (const std::int32_t id : ids) {
    const std::string* token = parts_->token_of(id);
    if (!token || (skip_special_tokens && parts_->added.is_special(*token))) continue;
    if (parts_->decoding == Decoding::blanks) {
      text += (first ? "" : " ") + *token;
    } else {
      text += bytes_of_token(*token).value_or(*token);
    }
    first = false;
  }
  return repair_utf8(text);
}

const std::string& Tokenizer::fingerprint() const { return parts_->fingerprint; }

std::int64_t Tokenizer::vocabulary() const {
  std::int64_t largest = parts_->model.largest_id();
  for (const AddedToken& token : parts_->added.all()) largest = std::max<std::int64_t>(largest, token.id);
  return largest + 1;
}

std::optional<std::int32_t> Tokenizer::find(std::string_view token) const { return parts_->find(std::string(token)); }
std::optional<std::int32_t> Tokenizer::pad_id() const { return parts_->pad; }
std::optional<std::int32_t> Tokenizer::eos_id() const { return parts_->eos; }

}  // namespace medfuse::data
