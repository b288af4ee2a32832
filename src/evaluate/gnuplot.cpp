#include "src/evaluate/gnuplot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <thread>

extern char** environ;

namespace medfuse::evaluate {
namespace fs = std::filesystem;

namespace {

constexpr std::chrono::seconds kLimit{120};

/// A folder of our own that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::error_code error;
    fs::path base = fs::temp_directory_path(error);
    if (error) base = "/tmp";
    std::string name = (base / "medfuse-plots-XXXXXX").string();
    if (!::mkdtemp(name.data())) {
      throw std::runtime_error(fmt::format("cannot make a folder in {}: {}", base.string(), std::strerror(errno)));
    }
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string plot_name(std::size_t index) { return fmt::format("plot{}.svg", index); }

void add_plot(std::string& script, const Plot& plot, std::size_t index) {
  auto out = std::back_inserter(script);
  fmt::format_to(out,
                 "reset\n"
                 "set terminal svg size {},{} font 'Helvetica,11' noenhanced\n"
                 "set output '{}'\n"
                 "unset key\n"
                 "set border 3 lw 0.8 lc rgb '#010203'\n"
                 "set tics nomirror out scale 0.5\n",
                 plot.width, plot.height, plot_name(index));
  for (const std::string& setting : plot.settings) fmt::format_to(out, "{}\n", setting);
  std::string command;
  for (std::size_t s = 0; s < plot.series.size(); ++s) {
    const Series& series = plot.series[s];
    if (series.rows.empty()) continue;
    fmt::format_to(out, "$data{} << END\n", s);
    for (const auto& row : series.rows) {
      for (std::size_t c = 0; c < row.size(); ++c) {
        if (c) script += ' ';
        if (std::isfinite(row[c])) fmt::format_to(out, "{:.7g}", row[c]);
        else script += "NaN";
      }
      script += '\n';
    }
    script += "END\n";
    command += fmt::format("{}$data{} {}", command.empty() ? "plot " : ", ", s, series.style);
  }
  script += command + "\nset output\n";
}

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// The most telling line of what gnuplot said: the one with the word after its source line and caret.
std::string complaint(const fs::path& path) {
  std::ifstream in(path);
  std::string found, line;
  while (std::getline(in, line)) {
    const auto begin = line.find_first_not_of(" \t^");
    if (begin == std::string::npos) continue;
    if (found.empty() || line.find("line ") != std::string::npos) found = line.substr(begin);
  }
  return found.empty() ? "it gave no reason" : found.substr(0, 200);
}

/// Runs gnuplot on `script` (a name in `folder`) with `folder` as working folder; no shell, no input, no terminal.
void run(const std::string& gnuplot, const fs::path& folder, const std::string& script) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "errors.txt", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::string name = gnuplot, no_user_settings = "-d", argument = script;
  char* arguments[] = {name.data(), no_user_settings.data(), argument.data(), nullptr};
  pid_t process = 0;
  const int failed = ::posix_spawnp(&process, gnuplot.c_str(), &actions, nullptr, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed) {
    throw std::runtime_error(fmt::format("cannot start '{}' ({}): install gnuplot, e.g. apt-get install gnuplot-nox",
                                         gnuplot, std::strerror(failed)));
  }
  const auto start = std::chrono::steady_clock::now();
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(process, &status, WNOHANG);
    if (ended == process) break;
    if (ended < 0 && errno != EINTR) {  // somebody else collected it: the pictures tell whether it worked
      status = 0;
      break;
    }
    if (std::chrono::steady_clock::now() - start > kLimit) {
      ::kill(process, SIGKILL);
      ::waitpid(process, &status, 0);
      throw std::runtime_error(fmt::format("'{}' took over {} s", gnuplot, kLimit.count()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (status != 0) throw std::runtime_error(fmt::format("'{}' failed: {}", gnuplot, complaint(folder / "errors.txt")));
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

/// Removes every stretch from `begin` to `end`, both included.
void remove_all(std::string& text, std::string_view begin, std::string_view end) {
  std::string kept;
  std::size_t from = 0;
  for (;;) {
    const std::size_t at = text.find(begin, from);
    const std::size_t stop = at == std::string::npos ? at : text.find(end, at + begin.size());
    if (stop == std::string::npos) break;
    kept.append(text, from, at - from);
    from = stop + end.size();
  }
  kept.append(text, from, std::string::npos);
  text = std::move(kept);
}

/// Removes groups without content, which gnuplot leaves in numbers.
void remove_empty_groups(std::string& svg) {
  std::string kept;
  std::size_t from = 0;
  for (std::size_t at = svg.find("<g"); at != std::string::npos; at = svg.find("<g", at + 1)) {
    const std::size_t inside = svg.find('>', at) + 1;
    const std::size_t end = svg.find_first_not_of(" \t\n", inside);
    if (end == std::string::npos || svg.compare(end, 4, "</g>") != 0) continue;
    kept.append(svg, from, at - from);
    from = end + 4;
    at = from - 1;
  }
  kept.append(svg, from, std::string::npos);
  svg = std::move(kept);
}

/// From gnuplot's document to an element that several of a kind may stand in one page: no ids, the page's colours.
std::string element(std::string svg, const Plot& plot) {
  const std::size_t begin = svg.find("<svg");
  const std::size_t end = svg.rfind("</svg>");
  if (begin == std::string::npos || end == std::string::npos) {
    throw std::runtime_error("gnuplot left a picture unfinished");
  }
  svg = svg.substr(begin, end + 6 - begin);
  remove_all(svg, "<title>", "</title>");
  remove_all(svg, "<desc>", "</desc>");
  remove_all(svg, "<defs>", "</defs>");
  remove_all(svg, "<rect", "/>");
  remove_all(svg, " id=\"", "\"");
  remove_all(svg, " font-family=\"", "\"");
  for (const char* noise : {" color=\"black\"", " color=\"white\"", " color=\"gray\"", " class=\"gridline\"",
                            " stroke-linecap=\"butt\"", " stroke-linejoin=\"miter\"", " stroke-dasharray='2,4'"}) {
    replace_all(svg, noise, "");
  }
  replace_all(svg, "fill=\"black\"", "fill=\"currentColor\"");
  replace_all(svg, "fill=\"rgb(1,2,3)\"", "fill=\"currentColor\"");
  replace_all(svg, "stroke='rgb(  1,   2,   3)'", "stroke=\"currentColor\"");
  remove_empty_groups(svg);
  for (const char* space : {"\t", "\r"}) replace_all(svg, space, "");
  while (svg.find("\n\n") != std::string::npos) replace_all(svg, "\n\n", "\n");
  const std::size_t head = svg.find('>');
  return fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\" "
                     "viewBox=\"0 0 {} {}\" role=\"img\">", plot.width, plot.height) + svg.substr(head + 1);
}

}  // namespace

std::vector<std::string> draw(const std::vector<Plot>& plots, const std::string& gnuplot) {
  if (plots.empty()) return {};
  const TemporaryFolder folder;
  std::string script = "set encoding utf8\n";
  for (std::size_t p = 0; p < plots.size(); ++p) add_plot(script, plots[p], p);
  {
    std::ofstream file(folder.path() / "plots.gp", std::ios::binary);
    file << script;
    if (!file.flush()) throw std::runtime_error("cannot write " + (folder.path() / "plots.gp").string());
  }
  run(gnuplot, folder.path(), "plots.gp");
  std::vector<std::string> elements;
  for (std::size_t p = 0; p < plots.size(); ++p) {
    elements.push_back(element(read_text(folder.path() / plot_name(p)), plots[p]));
  }
  return elements;
}

std::string plot_markers() {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"0\" height=\"0\" style=\"position:absolute\" "
         "aria-hidden=\"true\"><defs><circle id=\"gpPt6\" r=\"1\" fill=\"currentColor\" stroke=\"none\"/>"
         "<circle id=\"gpPt5\" r=\"1\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"0.3\"/></defs></svg>\n";
}

}  // namespace medfuse::evaluate
