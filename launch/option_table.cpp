#include "launch/option_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "base/files.h"

namespace medfuse::launch {
namespace po = boost::program_options;

namespace {

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string joined(const std::vector<std::string>& items) {
  std::string text;
  for (const auto& item : items) text += (text.empty() ? "" : ", ") + item;
  return text;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> items;
  std::stringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    if (auto clean = trimmed(item); !clean.empty()) items.push_back(clean);
  }
  return items;
}

const char* kind_of(const std::int64_t*) { return "N"; }
const char* kind_of(const std::uint64_t*) { return "N"; }
const char* kind_of(const double*) { return "X"; }
const char* kind_of(const bool*) { return "BOOL"; }
const char* kind_of(const std::string*) { return "TEXT"; }

/// What a person should have written instead, for an ill-typed value.
std::string expectation(const std::string& description) {
  if (description == "N") return "a whole number is needed";
  if (description == "X") return "a number is needed";
  if (description == "BOOL") return "true or false is needed";
  return "another value is needed";
}

std::string option_kind(const po::option_description& option) {
  return option.format_parameter().substr(0, option.format_parameter().find(' '));
}

}  // namespace

void OptionTable::refuse_sign(const po::option& option, const std::string& where) const {
  const bool negative = !option.value.empty() && option.value.front().starts_with('-');
  if (negative && unsigned_.count(option.string_key) != 0) usage_error("{}: a number that is not negative is needed", where);
}

void OptionTable::group(const std::string& title) { groups_.emplace_back(title, 110, 60); }

template <class T>
void OptionTable::bind(const std::string& name, T* target, const std::string& help, const std::string& kind) {
  if (groups_.empty()) group("Options");
  std::string shown;
  if constexpr (std::is_same_v<T, std::string>) {
    shown = *target;
  } else if constexpr (std::is_same_v<T, bool>) {
    shown = *target ? "true" : "false";
  } else {
    shown = fmt::format("{}", *target);
  }
  auto* value = po::value<T>(target)->default_value(*target, shown)->value_name(kind);
  groups_.back().add_options()(name.c_str(), value, help.c_str());
  rows_.push_back({name,
                   [target] {
                     if constexpr (std::is_same_v<T, bool>) return std::string(*target ? "true" : "false");
                     else return fmt::format("{}", *target);
                   },
                   true});
}

void OptionTable::add(const std::string& name, std::string* target, const std::string& help) {
  bind(name, target, help, kind_of(target));
}
void OptionTable::add(const std::string& name, bool* target, const std::string& help) {
  bind(name, target, help, kind_of(target));
}
void OptionTable::add(const std::string& name, double* target, const std::string& help) {
  bind(name, target, help, kind_of(target));
}
void OptionTable::add(const std::string& name, std::int64_t* target, const std::string& help) {
  bind(name, target, help, kind_of(target));
}
void OptionTable::add(const std::string& name, std::uint64_t* target, const std::string& help) {
  bind(name, target, help, kind_of(target));
  unsigned_.insert(name);
}

void OptionTable::add(const std::string& name, std::vector<std::string>* target, const std::string& help) {
  if (groups_.empty()) group("Options");
  auto* value = po::value<std::string>()->default_value(joined(*target))->value_name("LIST")->notifier(
      [target](const std::string& text) { *target = split(text); });
  groups_.back().add_options()(name.c_str(), value, help.c_str());
  rows_.push_back({name, [target] { return joined(*target); }, true});
}

void OptionTable::add_argument(const std::string& name, std::string* target, const std::string& help) {
  bind(name, target, help, kind_of(target));
  rows_.back().configurable = false;
}

void OptionTable::add_flag(const std::string& name, bool* target, const std::string& help) {
  if (groups_.empty()) group("Options");
  groups_.back().add_options()(name.c_str(), po::bool_switch(target), help.c_str());
  rows_.push_back({name, [target] { return std::string(*target ? "true" : "false"); }, false});
}

po::options_description OptionTable::all() const {
  po::options_description description;
  for (const auto& group : groups_) description.add(group);
  return description;
}

bool OptionTable::configurable(const std::string& name) const {
  const auto row = std::find_if(rows_.begin(), rows_.end(), [&](const Row& r) { return r.name == name; });
  return row != rows_.end() && row->configurable;
}

void OptionTable::tolerate(const OptionTable& other) {
  for (const auto& row : other.rows_) {
    if (row.configurable) tolerated_.insert(row.name);
  }
}

void OptionTable::parse(const std::vector<std::string>& given, const std::filesystem::path& config) {
  const po::options_description description = all();
  std::vector<std::string> arguments;
  for (const auto& word : given) {
    // Boost refuses an empty value behind '=', which is how a list or table is switched off.
    const bool empty_value = word.starts_with("--") && word.ends_with('=');
    arguments.push_back(empty_value ? word.substr(0, word.size() - 1) : word);
    if (empty_value) arguments.emplace_back();
  }
  try {
    const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    po::positional_options_description alone;
    if (!positional_.empty()) alone.add(positional_.c_str(), 1);
    const auto parsed = po::command_line_parser(arguments).options(description).positional(alone).style(style).run();
    for (const auto& option : parsed.options) {
      refuse_sign(option, "command line, --" + option.string_key);
      command_line_.insert(option.string_key);
    }
    po::store(parsed, values_);
  } catch (const po::invalid_option_value& error) {
    const std::string name = error.get_option_name().substr(error.get_option_name().find_first_not_of('-'));
    usage_error("command line, --{}: {}", name, expectation(option_kind(description.find(name, false))));
  } catch (const po::too_many_positional_options_error&) {
    usage_error("command line: a word stands alone where only --name VALUE is known; see --help");
  } catch (const po::error& error) {
    usage_error("command line: {}; see --help", error.what());
  }
  if (!config.empty()) read_config(config);
  try {
    po::notify(values_);
  } catch (const po::error& error) {
    usage_error("{}", error.what());
  }
}

void OptionTable::read_config(const std::filesystem::path& path) {
  // Boost's own reader cuts a value at '#'; only the splitting into lines is done here, typing stays with the table.
  const po::options_description description = all();
  std::string content;
  try {
    content = read_file(path);
  } catch (const Error& error) {
    usage_error("--config {}", error.what());
  }
  if (content.starts_with("\xef\xbb\xbf")) content.erase(0, 3);  // a mark that some editors put in front of UTF-8
  std::stringstream in(content);
  std::string section;
  int number = 0;
  for (std::string raw; std::getline(in, raw);) {
    ++number;
    const std::string line = trimmed(raw);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      if (line.back() != ']') usage_error("{}:{}: a section is written [name]", path.string(), number);
      section = trimmed(line.substr(1, line.size() - 2));
      continue;
    }
    const auto equals = line.find('=');
    if (equals == std::string::npos) usage_error("{}:{}: 'key = value' is needed", path.string(), number);
    const std::string bare = trimmed(line.substr(0, equals));
    const std::string name = section.empty() ? bare : section + "." + bare;
    if (!configurable(name) && tolerated_.count(name) != 0) continue;
    if (!configurable(name)) usage_error("{}:{}: unknown key '{}'; see --help", path.string(), number, name);
    if (!in_config_.insert(name).second) {
      usage_error("{}:{}: key '{}' is given twice", path.string(), number, name);
    }
    po::parsed_options parsed(&description);
    parsed.options.emplace_back(name, std::vector<std::string>{trimmed(line.substr(equals + 1))});
    refuse_sign(parsed.options.back(), fmt::format("{}:{}: key '{}'", path.string(), number, name));
    try {
      po::store(parsed, values_);  // keeps what the command line gave
      po::variables_map typed;     // ... but judges the value all the same
      po::store(parsed, typed);
    } catch (const po::error&) {
      usage_error("{}:{}: key '{}': {}", path.string(), number, name,
                  expectation(option_kind(description.find(name, false))));
    }
  }
}

bool OptionTable::given(const std::string& name) const { return command_line_.count(name) != 0; }

std::string OptionTable::help(const std::string& usage) const {
  std::stringstream out;
  out << usage << "\n";
  for (const auto& group : groups_) out << "\n" << group;
  return out.str();
}

std::string OptionTable::resolved() const {
  std::string text;
  std::string section;
  auto in_section = [&](const Row& row, bool top) { return (row.name.find('.') == std::string::npos) == top; };
  for (const auto& row : rows_) {
    if (row.configurable && in_section(row, true)) text += fmt::format("{} = {}\n", row.name, row.value());
  }
  std::vector<std::string> sections;
  auto section_of = [](const Row& row) { return row.name.substr(0, row.name.rfind('.')); };
  for (const auto& row : rows_) {
    if (row.configurable && in_section(row, false) &&
        std::find(sections.begin(), sections.end(), section_of(row)) == sections.end()) {
      sections.push_back(section_of(row));
    }
  }
  for (const auto& name : sections) {
    text += fmt::format("\n[{}]\n", name);
    for (const auto& row : rows_) {
      if (row.configurable && in_section(row, false) && section_of(row) == name) {
        text += fmt::format("{} = {}\n", row.name.substr(name.size() + 1), row.value());
      }
    }
  }
  return text;
}

std::string OptionTable::values() const {
  std::string text;
  for (const auto& row : rows_) text += fmt::format("{} = {}\n", row.name, row.value());
  return text;
}

std::string OptionTable::peek(const std::vector<std::string>& arguments, const std::string& name) {
  const std::string flag = "--" + name;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == flag && i + 1 < arguments.size()) return arguments[i + 1];
    if (arguments[i].rfind(flag + "=", 0) == 0) return arguments[i].substr(flag.size() + 1);
  }
  return {};
}

}  // namespace medfuse::launch
