// Reads a checkpoint, whatever number of ranks wrote it: whole tensors or just the slice that a rank needs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "src/checkpoint/errors.h"
#include "src/checkpoint/team.h"
#include "src/checkpoint/tensors.h"

namespace medfuse::checkpoint {

struct Manifest;

class Reader {
 public:
  /// Opens a step-... folder: reads and checks the whole manifest, and that its files are there in full length.
  /// Throws DamagedError naming the file, what is wrong with it and the remedy; Error(data) for a format version that
  /// this program does not know.
  explicit Reader(const std::filesystem::path& path);

  /// The newest checkpoint in `folder` (a run's checkpoints/) with a sound manifest and all its files; unfinished and
  /// damaged ones are passed over. Contents are verified when they are read. Error(data) for an unknown format version.
  static std::optional<std::filesystem::path> newest(const std::filesystem::path& folder);

  const std::filesystem::path& path() const;
  std::int64_t step() const;
  const nlohmann::json& extra() const;
  std::vector<TensorInfo> tensors() const;
  bool contains(const std::string& name) const;

  /// Host tensors of the stored type. Only the 1 MiB blocks touched are read, each against its checksum. Throws
  /// DamagedError for damage, Error(data) for a name that is not there, std::logic_error for a slice out of bounds.
  /// May be called by several threads.
  at::Tensor read(const std::string& name) const;
  at::Tensor read(const std::string& name, const std::vector<std::int64_t>& offset,
                  const std::vector<std::int64_t>& extent) const;
  /// Reads into a tensor of the stored shape, on any device. Floating types are converted where they differ. Throws
  /// Error(data) naming both shapes or types if they do not fit: the checkpoint is of another model.
  void read_into(const std::string& name, const at::Tensor& target) const;
  /// The same for a block of the stored tensor, which must have the block's global shape.
  void read_into(const ShardedTensor& block) const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const Manifest> manifest_;
};

/// "newest", "best" or the number of a step. Throws Error(usage) naming --checkpoint for anything else.
void check_choice(const std::string& which);

/// Collective. Calls `load(reader)` on every rank with the checkpoint that `which` says (best: with the highest score). An
/// unsound one is an error; of "newest" the next older one is taken, as in load_newest(), which tells the rest.
std::optional<std::int64_t> load_chosen(const std::filesystem::path& folder, const std::string& which, const Team& team,
                                        const std::function<void(const Reader&)>& load,
                                        const std::function<void(const std::string&)>& warn);

/// Collective. Calls `load(reader)` on every rank with the newest checkpoint; if it is damaged, as seen by any rank,
/// `warn` gets one line (on rank 0) and the next older one is tried: `load` must overwrite all that it set before. Any
/// other error of `load` (another model) is thrown on all ranks at once. Returns the step loaded, nothing if there is
/// no checkpoint; throws Error(data) if there are some and all are damaged.
std::optional<std::int64_t> load_newest(const std::filesystem::path& folder, const Team& team,
                                        const std::function<void(const Reader&)>& load,
                                        const std::function<void(const std::string&)>& warn);

}  // namespace medfuse::checkpoint
