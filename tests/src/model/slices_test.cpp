// A rank of a tensor group reads its slices of the weights' file and no more: pages of the mapping that it has touched.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "src/model/text_encoder.h"
#include "src/weights/safetensors_writer.h"
#include "tests/base/scratch.h"

namespace medfuse::model {
namespace {

namespace fs = std::filesystem;

/// One block whose projections have rows, or numbers of rows, of many pages: 65 MiB in float32.
weights::LlamaConfig wide_config() {
  weights::LlamaConfig config;
  config.vocab_size = 64;
  config.hidden_size = 16;
  config.intermediate_size = 1 << 18;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 16;
  config.num_key_value_heads = 4;
  config.head_dim = 1 << 13;
  config.max_position_embeddings = 64;
  return config;
}

TextOptions frozen() {
  TextOptions options;
  options.lora.rank = 0;
  return options;
}

/// Bytes of all weights on this rank, as many as they have in a file of `element` bytes a number.
std::int64_t bytes_of(const TextEncoder& encoder, std::int64_t element) {
  std::int64_t sum = 0;
  for (const at::Tensor& weight : encoder.buffers()) sum += weight.numel() * element;
  return sum;
}

/// Bytes of the file's mappings that are mapped in, by /proc/self/smaps: lines "BEGIN-END ... PATH", each with some of
/// "Rss: N kB" and the like behind it.
std::int64_t resident(const fs::path& file) {
  std::ifstream smaps("/proc/self/smaps");
  std::int64_t sum = 0;
  bool ours = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.find('-') < line.find(' ')) ours = line.ends_with(" " + file.string());
    if (!ours || !line.starts_with("Rss:")) continue;
    std::int64_t kib = 0;
    const std::size_t digits = line.find_first_of("0123456789");
    std::from_chars(line.data() + digits, line.data() + line.size(), kib);
    sum += kib << 10;
  }
  return sum;
}

/// Page by page: what is written in long pieces may lie in pages of megabytes, and a fault maps a whole one.
void copy_in_small_pages(const fs::path& from, const fs::path& to) {
  const Descriptor in = Descriptor::open_to_read(from), out = Descriptor::replace(to);
  std::vector<char> page(4096);
  std::int64_t offset = 0;
  while (const std::size_t bytes = in.read_some(page.data(), page.size(), offset)) {
    out.write(page.data(), bytes, offset);
    offset += static_cast<std::int64_t>(bytes);
  }
}

class SlicesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const TextEncoder whole(frozen(), config_, at::kFloat, 1);
    std::map<std::string, at::Tensor> tensors;
    for (const auto& item : whole.named_buffers()) tensors[item.key()] = item.value();
    weights::write_safetensors(folder_ / "written.safetensors", tensors);
    copy_in_small_pages(folder_ / "written.safetensors", file_);
    all_ = bytes_of(whole, 4);
  }

  /// What a rank has of the file once each of its weights was used.
  void check(at::ScalarType type, int rank, int size) {
    const auto ranks = std::make_shared<TensorParallel>(TensorParallel{.rank = rank, .size = size});
    const weights::Safetensors weights = weights::Safetensors::open(file_);
    const TextEncoder encoder(frozen(), config_, weights, type, 1, ranks);
    for (const at::Tensor& weight : encoder.buffers()) weight.sum();  // those of the file's type are views of it
    const std::int64_t share = bytes_of(encoder, 4);
    ASSERT_LT(share, all_ / size + all_ / 100);  // embedding and norms are whole
    // A fault maps its neighbours too, 64 KiB in all: at both ends of each row of what is split by columns, and of each
    // tensor.
    const std::int64_t runs = 2 * config_.hidden_size + std::ssize(encoder.buffers());
    const std::int64_t touched = resident(file_);
    EXPECT_LE(touched, share + 2 * runs * (64 << 10)) << "rank " << rank << " of " << size << ", " << type;
    EXPECT_GE(touched, share);
  }

  weights::LlamaConfig config_ = wide_config();
  testing::Scratch folder_;
  fs::path file_ = fs::canonical(folder_.path()) / "model.safetensors";
  std::int64_t all_ = 0;
};

TEST_F(SlicesTest, OfTheComputeType) {
  for (const int size : {1, 2, 4}) {
    for (int rank = 0; rank < size; ++rank) check(at::kFloat, rank, size);
  }
}

TEST_F(SlicesTest, Converted) {
  for (const int size : {1, 2, 4}) {
    for (int rank = 0; rank < size; ++rank) check(at::kBFloat16, rank, size);
  }
}

}  // namespace
}  // namespace medfuse::model
