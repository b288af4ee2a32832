// One table of options per subcommand: it parses the command line and the configuration file, prints --help and writes
// the resolved configuration, so that the three cannot drift apart.
#pragma once

#include <boost/program_options.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace medfuse::launch {

class OptionTable {
 public:
  /// Starts a group: its heading in --help.
  void group(const std::string& title);

  /// Binds an option to a variable, whose present value is the default. Lists are written with commas. An empty value
  /// in the configuration file is an empty string or list.
  void add(const std::string& name, std::string* target, const std::string& help);
  void add(const std::string& name, bool* target, const std::string& help);
  void add(const std::string& name, double* target, const std::string& help);
  void add(const std::string& name, std::int64_t* target, const std::string& help);
  void add(const std::string& name, std::uint64_t* target, const std::string& help);
  void add(const std::string& name, std::vector<std::string>* target, const std::string& help);

  /// The same for options of the command line alone (--config, --run): not in the resolved configuration.
  void add_argument(const std::string& name, std::string* target, const std::string& help);
  /// A word of the command line that stands without a value.
  void add_flag(const std::string& name, bool* target, const std::string& help);

  /// A word that stands alone on the command line is the value of `name`.
  void positional(const std::string& name) { positional_ = name; }

  /// Keys of `other` may stand in the configuration file and are passed over: one file serves pack and train.
  void tolerate(const OptionTable& other);

  /// Parses; the command line wins over the file. Abbreviations are not guessed; values keep '#' and inner spaces.
  /// Throws Error(usage) naming the key, and the file and line where it came from.
  void parse(const std::vector<std::string>& arguments, const std::filesystem::path& config = {});

  /// Keys given on the command line; those of the file do not count.
  bool given(const std::string& name) const;
  /// Keys given on the command line or in the file.
  bool set(const std::string& name) const { return given(name) || in_config_.count(name) != 0; }

  /// Text for --help.
  std::string help(const std::string& usage) const;

  /// The configuration that this run uses, in the format that parse() reads.
  std::string resolved() const;

  /// Every option with its value, a line each: what all ranks of a job must have alike.
  std::string values() const;

  /// Reads only `name` from the command line, without judging the rest: to find --config before parsing.
  static std::string peek(const std::vector<std::string>& arguments, const std::string& name);

 private:
  struct Row {
    std::string name;
    std::function<std::string()> value;
    bool configurable;
  };
  template <class T>
  void bind(const std::string& name, T* target, const std::string& help, const std::string& kind);
  boost::program_options::options_description all() const;
  bool configurable(const std::string& name) const;
  /// A stream reads "-1" into an unsigned number without complaint.
  void refuse_sign(const boost::program_options::option& option, const std::string& where) const;
  void read_config(const std::filesystem::path& path);

  std::vector<boost::program_options::options_description> groups_;
  std::vector<Row> rows_;
  std::set<std::string> tolerated_;
  std::string positional_;
  std::set<std::string> command_line_;
  std::set<std::string> in_config_;
  std::set<std::string> unsigned_;
  boost::program_options::variables_map values_;
};

}  // namespace medfuse::launch
