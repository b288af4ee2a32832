// The folder of a run: locked against a second job, with the configuration it was started with and what it was trained
// on, so that the same command continues it and another job cannot.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>

#include "data/packed/packed.h"

namespace medfuse::train {

/// Checksums of what a run is trained on. Its checkpoints keep them, so that one of another run is noticed among them.
struct Inputs {
  std::string data;     ///< of data.json
  std::string weights;  ///< of identity.json
};
Inputs inputs_of(const std::string& data_index, const std::string& identity);
/// As the run in this folder keeps them. Throws Error(data) naming a file that cannot be read.
Inputs inputs_of(const std::filesystem::path& run);

class RunFolder {
 public:
  /// Creates the folder (mode 0700) where it is missing.
  explicit RunFolder(const std::filesystem::path& folder);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  /// For rank 0, before adopt(): takes the lock, which the kernel drops with the process. Another job's lock is waited for: it
  /// may be about to die, or dead for so short a time that a file server does not know yet. `say` is told of that, and of a
  /// file system without locks, where there is none to take. Throws Error(usage) if the other job is there after `patience`.
  void lock(std::chrono::duration<double> patience, const std::function<void(const std::string&)>& say);

  /// Does nothing where lock() was not called. First start: writes `config` (everything resolved), `data_index` (index.json of
  /// the packed data) and `identity` (weights_identity()). Later: compares with what is there. Settings that do not change the
  /// result may differ; for any other difference throws Error(usage) showing it. Throws Error(data) if what is there is damaged.
  void adopt(const std::string& config, const std::string& data_index, const std::string& identity);

  const std::filesystem::path& path() const { return folder_; }
  std::filesystem::path config() const { return folder_ / "config.cfg"; }
  std::filesystem::path metrics() const { return folder_ / "metrics.jsonl"; }
  std::filesystem::path checkpoints() const { return folder_ / "checkpoints"; }

 private:
  std::filesystem::path folder_;
  bool writer_ = false;
  int lock_ = -1;
};

/// What is common to the samples that a run was trained on, from its data.json. Throws Error(data) if it is missing or damaged.
data::PackedInfo trained_on(const std::filesystem::path& run);

/// Whether a run was trained with the weights of this weights_identity(). Throws Error(data) if its identity.json is missing or
/// damaged.
bool trained_with(const std::filesystem::path& run, const std::string& identity);
/// Throws Error(data) unless it was. `model_folder`: where those weights lie.
void check_trained_with(const std::filesystem::path& run, const std::string& identity, const std::string& model_folder);

/// Lines "key: before -> now" of the settings in which two resolved configurations differ and that change the result.
std::string differences(const std::string& before, const std::string& now);

}  // namespace medfuse::train
