// The manifest of a checkpoint whose checksum is right: what a mistake or ill will could write. Its one file is there.
#include "src/checkpoint/manifest.h"
#include "tests/fuzz/input.h"

namespace {

constexpr std::int64_t file_bytes = 2 << 20;

const std::filesystem::path& checkpoint() {
  static const std::filesystem::path path = [] {
    medfuse::fuzz::write_input("rank-00000.h5", "");
    std::filesystem::resize_file(medfuse::fuzz::folder() / "rank-00000.h5", file_bytes);
    return medfuse::fuzz::folder().path();
  }();
  return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  using namespace medfuse::checkpoint;
  const auto path = ::checkpoint();
  fuzz::write_input(kManifestName, fuzz::sealed_anew(fuzz::text_of(data, size)));
  fuzz::allow_refusal([&] {
    const Manifest manifest = read_manifest(path);
    for (const TensorEntry& tensor : manifest.tensors) {
      fuzz::require(manifest.find(tensor.info.name) == &tensor, "each tensor is found by its name");
      const Box whole{Shape(tensor.info.shape.size(), 0), tensor.info.shape};
      std::int64_t elements = 0;
      for (const Shard& shard : tensor.shards) {
        const std::int64_t bytes = shard_bytes(tensor.info, shard);
        fuzz::require(bytes > 0 && shard.byte_offset >= 0 && shard.byte_offset + bytes <= file_bytes, "shards lie inside the file");
        for_each_run(shard.box, whole, [&](std::int64_t, std::int64_t to, std::int64_t n) {
          fuzz::require(to >= 0 && n > 0 && to + n <= *volume(tensor.info.shape), "runs lie inside the tensor");
          elements += n;
        });
      }
      fuzz::require(elements == *volume(tensor.info.shape), "shards make up the tensor");
    }
    // What is read can be written, and reads the same.
    fuzz::write_input(kManifestName, to_text(manifest));
    fuzz::require(to_text(read_manifest(path)) == to_text(manifest), "a manifest written again is the same");
  });
  return 0;
}
