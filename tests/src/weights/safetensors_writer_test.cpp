// Streamed safetensors: order, conversion, several files with an index, and what cannot be written.
#include "src/weights/safetensors_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "src/weights/safetensors.h"

namespace medfuse::weights {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("medfuse_safetensors_writer_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static TensorToWrite tensor(const std::string& name, const at::Tensor& values, at::ScalarType dtype) {
    return {name, dtype, values.sizes().vec(), [values] { return values; }};
  }
  static TensorToWrite tensor(const std::string& name, const at::Tensor& values) {
    return tensor(name, values, values.scalar_type());
  }

  fs::path folder_;
};

TEST_F(SafetensorsWriterTest, HeaderIsThatOfTheFormat) {
  const fs::path path = folder_ / "model.safetensors";
  stream_safetensors(path, {tensor("odd", at::ones({3}, at::kByte)), tensor("half", at::ones({3}, at::kHalf)),
                            tensor("wide", at::ones({2, 2})), tensor("b", at::ones({1}))});
  const std::string content = read_file(path);
  std::uint64_t length = 0;
  std::memcpy(&length, content.data(), 8);
  EXPECT_EQ((8 + length) % 64, 0u);
  EXPECT_EQ(content[8], '{') << "the format wants the header to begin there";
  const auto header = nlohmann::json::parse(content.substr(8, length));
  EXPECT_EQ(header["__metadata__"]["format"], "pt");
  EXPECT_EQ(header["b"]["data_offsets"], nlohmann::json({0, 4}));
  EXPECT_EQ(header["wide"]["data_offsets"], nlohmann::json({4, 20}));
  EXPECT_EQ(header["wide"]["shape"], nlohmann::json({2, 2}));
  EXPECT_EQ(header["half"]["data_offsets"], nlohmann::json({20, 26}));
  EXPECT_EQ(header["odd"]["data_offsets"], nlohmann::json({26, 29}));
  EXPECT_EQ(content.size(), 8 + length + 29);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(SafetensorsWriterTest, ConvertsWhileWriting) {
  // More elements than are converted at a time, from a tensor that is not contiguous.
  const at::Tensor large = at::arange((std::int64_t{1} << 24) + 6, at::kFloat).reshape({2, -1}).t();
  const at::Tensor small = at::rand({3, 5});
  stream_safetensors(folder_ / "model.safetensors",
                     {tensor("large", large, at::kBFloat16), tensor("small", small, at::kHalf),
                      tensor("wider", small.to(at::kBFloat16), at::kFloat), tensor("whole", at::arange(4))});
  const Safetensors read = Safetensors::open(folder_);
  EXPECT_TRUE(read.tensor("large").equal(large.to(at::kBFloat16)));
  EXPECT_TRUE(read.tensor("small").equal(small.to(at::kHalf)));
  EXPECT_TRUE(read.tensor("wider").equal(small.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_TRUE(read.tensor("whole").equal(at::arange(4)));
}

TEST_F(SafetensorsWriterTest, RefusesValuesThatTheTypeCannotHold) {
  const at::Tensor values = at::tensor({1.0f, 70000.0f});
  try {
    stream_safetensors(folder_ / "model.safetensors", {tensor("w", values, at::kHalf)});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("model.safetensors"), HasSubstr("'w'"), HasSubstr("F16")));
  }
  stream_safetensors(folder_ / "model.safetensors", {tensor("w", at::log(at::zeros({2})), at::kHalf)});
  EXPECT_TRUE(Safetensors::open(folder_).tensor("w").isinf().all().item<bool>()) << "what was infinite may stay so";
  EXPECT_THROW(stream_safetensors(folder_ / "x", {tensor("w", at::ones({2}), at::kInt)}), std::logic_error);
  EXPECT_THROW(stream_safetensors(folder_ / "x", {tensor("w", values), tensor("w", values)}), std::logic_error);
  const TensorToWrite other_shape{"w", at::kFloat, {3}, [values] { return values; }};
  EXPECT_THROW(stream_safetensors(folder_ / "x", {other_shape}), std::logic_error);
}

TEST_F(SafetensorsWriterTest, FillsFilesInOrder) {
  const auto list = [] {
    std::vector<TensorToWrite> tensors;
    for (const auto& [name, rows] : {std::pair{"a", 10}, {"b", 5}, {"c", 5}, {"large", 40}, {"z", 1}}) {
      tensors.push_back(tensor(name, at::full({rows}, rows, at::kFloat)));
    }
    return tensors;
  };
  EXPECT_THAT(write_model_files(folder_, list(), 61 * 4), ElementsAre("model.safetensors"));
  EXPECT_FALSE(fs::exists(folder_ / "model.safetensors.index.json"));
  fs::remove(folder_ / "model.safetensors");

  EXPECT_THAT(write_model_files(folder_, list(), 15 * 4),
              ElementsAre("model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
                          "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors"));
  const auto index = nlohmann::json::parse(read_file(folder_ / "model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 61 * 4);
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00004.safetensors");
  const Safetensors read = Safetensors::open(folder_);
  EXPECT_THAT(read.names(), ElementsAre("a", "b", "c", "large", "z"));
  EXPECT_TRUE(read.tensor("large").equal(at::full({40}, 40, at::kFloat)));
}

}  // namespace
}  // namespace medfuse::weights
