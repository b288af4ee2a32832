#include "src/train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include "base/checksum.h"
#include "base/error.h"
#include "base/files.h"
#include "base/system_error.h"
#include "data/packed/info_json.h"

namespace medfuse::train {
namespace fs = std::filesystem;

namespace {

constexpr const char* data_name = "data.json";
constexpr const char* identity_name = "identity.json";

/// Settings that change speed, place or logging but not what is learned. `stages` may grow once the first are done.
const std::set<std::string>& free_keys() {
  static const std::set<std::string> keys = {
      "data.path", "text.model", "text.cache_mib", "micro_batch", "recompute", "device", "stages", "validate.every", "bad_steps",
      "timeout.start", "timeout.step", "timeout.save", "timeout.lock", "timeout" /* formerly */,
      "checkpoint.every", "checkpoint.keep", "checkpoint.keep_every", "checkpoint.best", "checkpoint.background",
      "stop.signals", "stop.file", "stop.after", "stop.limit", "stop.margin", "stop.slurm_every",
      "parallel.tensor", "parallel.sequence", "parallel.across_nodes", "parallel.zero", "parallel.layout", "parallel.lab_ranks",
      "parallel.bucket_mib"};
  return keys;
}

std::map<std::string, std::string> settings(const std::string& config) {
  std::map<std::string, std::string> all;
  std::stringstream in(config);
  std::string section;
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[') {
      section = line.substr(1, line.find(']') - 1) + ".";
      continue;
    }
    const auto equals = line.find(" = ");
    if (equals != std::string::npos) all[section + line.substr(0, equals)] = line.substr(equals + 3);
  }
  return all;
}

}  // namespace

RunFolder::RunFolder(const fs::path& folder) : folder_(folder) { make_private_folder(folder_); }

void RunFolder::lock(std::chrono::duration<double> patience, const std::function<void(const std::string&)>& say) {
  using Clock = std::chrono::steady_clock;
  writer_ = true;
  const fs::path path = folder_ / "lock";
  lock_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_ < 0) data_error("{}: cannot write: {}", path.string(), system_message(errno));
  bool said = false;
  for (const auto begin = Clock::now(); ::flock(lock_, LOCK_EX | LOCK_NB) != 0;) {
    switch (const int error = errno) {
      case EINTR:
        continue;
      case EWOULDBLOCK:
        break;
      case ENOLCK:
      case ENOSYS:
      case EOPNOTSUPP:
        say(fmt::format("warning: {}: this file system has no locks ({}): nothing keeps two jobs from training there at once",
                        path.string(), system_message(error)));
        return;
      default:
        data_error("{}: cannot lock: {}", path.string(), system_message(error));
    }
    if (Clock::now() - begin >= patience) {
      usage_error("--run {}: another job is training there; wait for its end, or give another --run (if there is none, a file "
                  "server holds the lock of a node that died: delete {})", folder_.string(), path.string());
    }
    if (!std::exchange(said, true)) {
      say(fmt::format("--run {}: another job is training there; waiting up to {:.0f} s for its end", folder_.string(),
                      patience.count()));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

void RunFolder::adopt(const std::string& config_text, const std::string& index_text, const std::string& identity_text) {
  if (!writer_) return;
  if (!fs::exists(config())) {
    std::error_code none;
    if (fs::exists(checkpoints()) && !fs::is_empty(checkpoints(), none)) {
      data_error("{}: is missing, though there are checkpoints: bring it back, or give another --run", config().string());
    }
    write_file_atomically(folder_ / data_name, index_text);
    write_file_atomically(folder_ / identity_name, identity_text);
    write_file_atomically(config(), config_text);  // last: a run is one when this file is there
    return;
  }
  if (!trained_with(folder_, identity_text)) {
    usage_error("--run {}: it was started with other weights (text.model), byte for byte; continue with those, or give another "
                "--run", folder_.string());
  }
  if (read_file(folder_ / data_name) != index_text) {
    trained_on(folder_);  // says so if it is damaged
    usage_error("--run {}: it was started with other packed data (data.path); continue with those, or give another --run",
                folder_.string());
  }
  const std::string changed = differences(read_file(config()), config_text);
  if (!changed.empty()) {
    usage_error("--run {}: it was started with other settings: {}; keep them, or give another --run", folder_.string(),
                changed);
  }
  write_file_atomically(config(), config_text);
}

Inputs inputs_of(const std::string& data_index, const std::string& identity) {
  return {hex(checksum(data_index)), hex(checksum(identity))};
}

Inputs inputs_of(const fs::path& run) {
  return inputs_of(read_file(run / data_name), read_file(run / identity_name));
}

data::PackedInfo trained_on(const fs::path& run) {
  const fs::path path = run / data_name;
  if (!fs::exists(path)) data_error("{}: no run folder: data.json is missing", run.string());
  return data::read_index(path, {.damaged = "it is a copy of the index.json of the run's packed data: copy that again",
                                 .other_version = "use the program that trained the run"})
      .info;
}

bool trained_with(const fs::path& run, const std::string& identity) {
  const fs::path path = run / identity_name;
  const std::string kept = read_file(path);
  if (kept != identity && check_seal(kept) != Seal::sound) {
    data_error("{}: was changed or damaged, so nobody can tell which weights the run was trained with: bring it back from a "
               "copy of the run", path.string());
  }
  return kept == identity;
}

void check_trained_with(const fs::path& run, const std::string& identity, const std::string& model_folder) {
  if (trained_with(run, identity)) return;
  data_error("text.model {}: not the weights that the run {} was trained with; give theirs with --text.model", model_folder,
             run.string());
}

std::string differences(const std::string& before, const std::string& now) {
  const auto old_settings = settings(before);
  const auto new_settings = settings(now);
  std::string text;
  auto note = [&](const std::string& key, const std::string& from, const std::string& to) {
    if (free_keys().count(key) == 0) text += fmt::format("{}{}: {} -> {}", text.empty() ? "" : "; ", key, from, to);
  };
  for (const auto& [key, value] : old_settings) {
    const auto found = new_settings.find(key);
    if (found == new_settings.end()) note(key, value, "(gone)");
    else if (found->second != value) note(key, value, found->second);
  }
  for (const auto& [key, value] : new_settings) {
    if (old_settings.count(key) == 0) note(key, "(not set)", value);
  }
  return text;
}

}  // namespace medfuse::train
