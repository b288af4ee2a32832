#include "src/checkpoint/reader.h"

#include <ATen/ATen.h>

#include <charconv>
#include <utility>

#include "src/checkpoint/block_reader.h"
#include "src/checkpoint/dtype.h"
#include "src/checkpoint/folder.h"
#include "src/checkpoint/manifest.h"
#include "src/checkpoint/retention.h"

namespace medfuse::checkpoint {
namespace fs = std::filesystem;

namespace {

const TensorEntry& find(const Manifest& manifest, const fs::path& path, const std::string& name) {
  const TensorEntry* tensor = manifest.find(name);
  if (!tensor) {
    data_error("{}: holds no tensor {}; it is a checkpoint of another model or program version", path.string(), name);
  }
  return *tensor;
}

at::Tensor read_box(const Manifest& manifest, const fs::path& path, const TensorEntry& tensor, const Box& box) {
  if (!inside(box, tensor.info.shape)) {
    throw std::logic_error(fmt::format("checkpoint: slice of tensor {} out of bounds", tensor.info.name));
  }
  at::Tensor result = at::empty(box.extent, at::TensorOptions().dtype(tensor.info.dtype));
  auto* const data = static_cast<char*>(result.data_ptr());
  const auto item = static_cast<std::int64_t>(result.element_size());
  for (const Shard& shard : tensor.shards) {
    std::optional<BlockReader> blocks;  // opened only if the shard has a part in it
    for_each_run(shard.box, box, [&](std::int64_t source, std::int64_t target, std::int64_t n) {
      if (!blocks) blocks.emplace(path / manifest.files[shard.file].name, tensor.info, shard);
      blocks->read(data + target * item, source * item, n * item);
    });
  }
  return result;
}

std::optional<std::int64_t> step_number(const std::string& text) {
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  return error == std::errc() && end == text.data() + text.size() && step >= 0 ? std::optional(step) : std::nullopt;
}

/// Oldest first. Throws Error(data) if there are checkpoints, but not the one that was asked for.
std::vector<fs::path> candidates(const fs::path& folder, const std::string& which) {
  std::vector<fs::path> paths;
  const auto all = entries(folder);
  if (which == "best") {
    if (const auto best = best_checkpoint(folder)) paths.push_back(*best);
    if (paths.empty() && !all.empty()) {
      data_error("{}: no checkpoint has a score; train with validate.every, or choose another with --checkpoint", folder.string());
    }
    return paths;
  }
  const auto step = step_number(which);
  for (const FolderEntry& entry : all) {
    if (!step || entry.step == *step) paths.push_back(entry.path);
  }
  if (paths.empty() && !all.empty()) {
    data_error("{}: holds no checkpoint of step {}; `medfuse checkpoint list` shows what there is", folder.string(), which);
  }
  return paths;
}

using Names = std::vector<std::string>;

/// Rank 0 lists, so that all see the same even while a shared file system has not caught up. Collective.
Names agreed_candidates(const fs::path& folder, const std::string& which, const Team& team) {
  const auto lists = gather_or_throw(team, [&] {
    Names names;
    if (team.rank == 0) {
      for (const fs::path& path : candidates(folder, which)) names.push_back(path.filename().string());
    }
    return nlohmann::json(names).dump();
  });
  return nlohmann::json::parse(lists.front()).get<Names>();
}

}  // namespace

Reader::Reader(const fs::path& path) : path_(path), manifest_(std::make_shared<const Manifest>(read_manifest(path))) {}

std::optional<fs::path> Reader::newest(const fs::path& folder) {
  const auto all = entries(folder);
  for (auto entry = all.rbegin(); entry != all.rend(); ++entry) {
    try {
      return Reader(entry->path).path();
    } catch (const DamagedError&) {
      continue;
    }
  }
  return std::nullopt;
}

const fs::path& Reader::path() const { return path_; }
std::int64_t Reader::step() const { return manifest_->step; }
const nlohmann::json& Reader::extra() const { return manifest_->extra; }
bool Reader::contains(const std::string& name) const { return manifest_->find(name) != nullptr; }

std::vector<TensorInfo> Reader::tensors() const {
  std::vector<TensorInfo> list;
  for (const TensorEntry& tensor : manifest_->tensors) list.push_back(tensor.info);
  return list;
}

at::Tensor Reader::read(const std::string& name) const {
  const TensorEntry& tensor = find(*manifest_, path_, name);
  return read_box(*manifest_, path_, tensor, {Shape(tensor.info.shape.size(), 0), tensor.info.shape});
}

at::Tensor Reader::read(const std::string& name, const std::vector<std::int64_t>& offset,
                        const std::vector<std::int64_t>& extent) const {
  return read_box(*manifest_, path_, find(*manifest_, path_, name), {offset, extent});
}

void Reader::read_into(const std::string& name, const at::Tensor& target) const { read_into(replicated(name, target)); }

void Reader::read_into(const ShardedTensor& block) const {
  const std::string& name = block.name;
  const at::Tensor& target = block.local;
  const TensorInfo& stored = find(*manifest_, path_, name).info;
  if (block.global_shape != stored.shape) {
    data_error("{}: tensor {} has shape [{}], the model has [{}]; it is a checkpoint of another model", path_.string(),
               name, fmt::join(stored.shape, ", "), fmt::join(block.global_shape, ", "));
  }
  if (target.scalar_type() != stored.dtype && !(target.is_floating_point() && at::isFloatingType(stored.dtype))) {
    data_error("{}: tensor {} has type {}, the model has {}; it is a checkpoint of another model", path_.string(), name,
               dtype_name(stored.dtype), dtype_name(target.scalar_type()));
  }
  const at::NoGradGuard no_grad;
  target.detach().copy_(read(name, block.offset, target.sizes().vec()));
}

void check_choice(const std::string& which) {
  if (which != "newest" && which != "best" && !step_number(which)) {
    usage_error("--checkpoint {}: newest, best or the number of a step", which);
  }
}

std::optional<std::int64_t> load_newest(const fs::path& folder, const Team& team,
                                        const std::function<void(const Reader&)>& load,
                                        const std::function<void(const std::string&)>& warn) {
  return load_chosen(folder, "newest", team, load, warn);
}

std::optional<std::int64_t> load_chosen(const fs::path& folder, const std::string& which, const Team& team,
                                        const std::function<void(const Reader&)>& load,
                                        const std::function<void(const std::string&)>& warn) {
  Names names;
  // Of a run that goes on, all that were listed may have made way for newer ones before they were opened.
  for (Names before; (names = agreed_candidates(folder, which, team)) != before; before = names) {
    for (auto name = names.rbegin(); name != names.rend(); ++name) {
      try {
        std::int64_t step = 0;
        gather_or_throw(team, [&] {
          const Reader reader(folder / *name);
          step = reader.step();
          load(reader);
          return std::string();
        });
        return step;
      } catch (const DamagedError& error) {
        std::error_code none;
        if (team.rank == 0 && fs::exists(folder / *name, none)) warn(error.what());
      }
    }
  }
  if (names.empty()) return std::nullopt;
  if (which != "newest") data_error("{}: checkpoint {} is not sound; choose another with --checkpoint", folder.string(), which);
  data_error("{}: none of its {} checkpoints is sound; delete the folder to train from the start", folder.string(),
             names.size());
}

}  // namespace medfuse::checkpoint
