// Reading of whole, sharded, damaged and hostile safetensors files.
#include "src/weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/files.h"
#include "src/weights/safetensors_writer.h"

namespace medfuse::weights {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const fs::path fixtures = "tests/fixtures/model";

class SafetensorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("medfuse_safetensors_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// A file with this header and `data_bytes` bytes behind it.
  fs::path file(const std::string& header, std::size_t data_bytes) {
    const std::uint64_t length = header.size();
    std::string content(reinterpret_cast<const char*>(&length), 8);
    content += header + std::string(data_bytes, '\1');
    return raw(content);
  }
  fs::path raw(const std::string& content, const std::string& name = "model.safetensors") {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  static std::string error_of(const fs::path& path) {
    try {
      Safetensors::open(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::data);
      EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
};

TEST_F(SafetensorsTest, ReturnsWhatWasWrittenInEveryType) {
  std::map<std::string, at::Tensor> tensors;
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kShort,
                                    at::kChar, at::kByte, at::kBool}) {
    tensors["t." + std::string(at::toString(type))] = (at::arange(12).reshape({3, 4}) % 5).to(type);
  }
  tensors["scalar"] = at::scalar_tensor(2.5, at::kFloat);
  tensors["empty"] = at::empty({0, 7}, at::kFloat);
  tensors["transposed"] = at::arange(6, at::kFloat).reshape({2, 3}).t();
  write_safetensors(folder_ / "model.safetensors", tensors);
  const Safetensors read = Safetensors::open(folder_);
  EXPECT_EQ(read.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(read.info(name).dtype, tensor.scalar_type()) << name;
    EXPECT_TRUE(read.tensor(name).equal(tensor)) << name;
  }
}

TEST_F(SafetensorsTest, ViewsOutliveTheReaderAndNeverWriteIntoTheFile) {
  const fs::path path = folder_ / "model.safetensors";
  write_safetensors(path, {{"w", at::ones({4, 4})}});
  const std::uint64_t checksum = file_checksum(path);
  at::Tensor view;
  {
    const Safetensors read = Safetensors::open(path);
    view = read.tensor("w");
    EXPECT_EQ(static_cast<const std::byte*>(read.rows("w", 1, 2).const_data_ptr()),
              static_cast<const std::byte*>(view.const_data_ptr()) + 16)
        << "a slice of rows must be a view of the same mapping";
  }
  view.fill_(3);
  EXPECT_EQ(view.sum().item<float>(), 48);
  EXPECT_EQ(file_checksum(path), checksum);
}

TEST_F(SafetensorsTest, ReadsSlices) {
  const at::Tensor matrix = at::arange(30, at::kBFloat16).reshape({5, 6});
  write_safetensors(folder_ / "model.safetensors", {{"m", matrix}, {"v", at::arange(5, at::kFloat)}});
  const Safetensors read = Safetensors::open(folder_);
  EXPECT_TRUE(read.rows("m", 2, 5).equal(matrix.slice(0, 2, 5)));
  EXPECT_TRUE(read.rows("v", 1, 3).equal(at::arange(1, 3, at::kFloat)));
  EXPECT_EQ(read.rows("m", 2, 2).numel(), 0);
  const at::Tensor columns = read.columns("m", 1, 4);
  EXPECT_TRUE(columns.equal(matrix.slice(1, 1, 4)) && columns.is_contiguous());
  EXPECT_THROW(read.rows("m", 3, 6), std::logic_error);
  EXPECT_THROW(read.columns("m", -1, 2), std::logic_error);
  EXPECT_THROW(read.columns("v", 0, 1), std::logic_error);
}

TEST_F(SafetensorsTest, ReadsTensorsAtOddAddresses) {
  const fs::path path = file(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                             R"("b":{"dtype":"F32","shape":[2],"data_offsets":[3,11]}})",
                             11);
  float expected = 0;
  std::memset(&expected, 1, 4);
  EXPECT_EQ(Safetensors::open(path).tensor("b")[1].item<float>(), expected);
}

TEST_F(SafetensorsTest, ShardedFolderHoldsTheSameTensorsAsTheSingleFile) {
  const Safetensors single = Safetensors::open(fixtures / "tiny");
  const Safetensors sharded = Safetensors::open(fixtures / "tiny_sharded");
  EXPECT_EQ(sharded.names().size(), single.names().size() + 1);
  for (const std::string& name : single.names()) {
    EXPECT_TRUE(single.tensor(name).equal(sharded.tensor("model." + name))) << name;
  }
}

TEST_F(SafetensorsTest, NamesMissingTensorsAndOtherShapes) {
  write_safetensors(folder_ / "model.safetensors", {{"w", at::ones({4, 3})}});
  const Safetensors read = Safetensors::open(folder_);
  try {
    read.tensor("gone");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr(folder_.string()), HasSubstr("'gone'")));
  }
  try {
    read.tensor("w", {3, 4}, "config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("'w'"), HasSubstr("[4, 3]"), HasSubstr("[3, 4]"), HasSubstr("config.json")));
  }
}

TEST_F(SafetensorsTest, EveryTruncationIsOneError) {
  std::string content = read_file(fixtures / "tiny_adapter.safetensors");
  for (std::size_t size : {std::size_t{0}, std::size_t{5}, std::size_t{8}, std::size_t{200}, content.size() / 2,
                           content.size() - 1}) {
    EXPECT_THAT(error_of(raw(content.substr(0, size))), HasSubstr("model.safetensors")) << size;
  }
  EXPECT_THAT(error_of(raw(content.substr(0, content.size() - 1))), AllOf(HasSubstr("tensor '"), HasSubstr("truncated")));
  EXPECT_THAT(error_of(raw(content + "x")), HasSubstr("behind the last tensor"));
}

TEST_F(SafetensorsTest, RefusesHostileHeaders) {
  const auto one = [](const std::string& entry) { return R"({"w":)" + entry + "}"; };
  const struct {
    std::string header;
    std::string error;
  } cases[] = {
      {"", "not a JSON object"},
      {"[1,2]", "not a JSON object"},
      {"{\"w\":", "not a JSON object"},
      {one("3"), "has no dtype"},
      {one(R"({"dtype":"F32","shape":[4]})"), "data_offsets"},
      {one(R"({"dtype":"F8_E4M3","shape":[16],"data_offsets":[0,16]})"), "F8_E4M3"},
      {one(R"({"dtype":"F32","shape":[-4],"data_offsets":[0,16]})"), "shape"},
      {one(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,16]})"), "shape"},
      {one(R"({"dtype":"F32","shape":"4","data_offsets":[0,16]})"), "shape"},
      {one(R"({"dtype":"F32","shape":[5],"data_offsets":[0,16]})"), "needs 20 bytes, but it holds 16"},
      {one(R"({"dtype":"F32","shape":[4],"data_offsets":[16,0]})"), "begins at byte 16"},
      {one(R"({"dtype":"F32","shape":[8],"data_offsets":[0,32]})"), "truncated"},
      {one(R"({"dtype":"F32","shape":[4],"data_offsets":[-16,0]})"), "data_offsets"},
      {one(R"({"dtype":"F32","shape":[4],"data_offsets":[18446744073709551600,18446744073709551615]})"), "ends at byte"},
      // 2^62 elements of 4 bytes are 2^64 bytes, which is 0 to a careless product.
      {one(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})"), "too large"},
      {one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), "too large"},
      {one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,16]})"), "gap"},
      {R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},"b":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
       "overlaps"},
      {R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}})",
       "listed twice"},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(error_of(file(test.header, 16)), AllOf(HasSubstr("model.safetensors"), HasSubstr(test.error)))
        << test.header;
  }
  const std::uint64_t huge = ~std::uint64_t{0};
  EXPECT_THAT(error_of(raw(std::string(reinterpret_cast<const char*>(&huge), 8) + "{}")), HasSubstr("announces"));
}

TEST_F(SafetensorsTest, RefusesBadFoldersAndIndices) {
  EXPECT_THAT(error_of(folder_), HasSubstr("neither model.safetensors nor"));
  EXPECT_THAT(error_of(folder_ / "absent.safetensors"), HasSubstr("absent.safetensors"));
  const std::string index = "model.safetensors.index.json";
  raw("{}", index);
  EXPECT_THAT(error_of(folder_), HasSubstr("weight_map"));
  raw(R"({"weight_map":{"w":"../part.safetensors"}})", index);
  EXPECT_THAT(error_of(folder_), HasSubstr("names no file of this folder"));
  raw(R"({"weight_map":{"w":"part.safetensors"}})", index);
  EXPECT_THAT(error_of(folder_), HasSubstr("part.safetensors"));
  write_safetensors(folder_ / "part.safetensors", {{"v", at::ones({2})}});
  EXPECT_THAT(error_of(folder_), AllOf(HasSubstr("'w'"), HasSubstr("part.safetensors")));
}

}  // namespace
}  // namespace medfuse::weights
