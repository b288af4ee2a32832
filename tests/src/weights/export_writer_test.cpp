// Exported folders: which tensors a merged one holds and with what values, what the adapter's configuration says, and
// that a folder is there whole or not at all.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "src/weights/merged_folder.h"
#include "src/weights/partial_folder.h"
#include "src/weights/peft_folder.h"
#include "src/weights/safetensors.h"

namespace medfuse::weights {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::uint64_t one_file = std::uint64_t{1} << 40;

class ExportWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("medfuse_export_writer_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// On the given tiny model: of 2 blocks, width 64, 2 key/value heads of 16.
  static AdaptedEncoder encoder(const std::string& base, std::int64_t layers) {
    AdaptedEncoder result;
    result.base = fs::path("tests/fixtures/model") / base;
    result.base_layers = 2;
    result.layers = layers;
    result.alpha = 12;
    result.dropout = 0.05;
    result.adapters["model.layers.0.self_attn.k_proj"] = {at::rand({4, 64}), at::rand({32, 4})};
    result.adapters["model.layers.0.mlp.down_proj"] = {at::rand({4, 80}), at::rand({64, 4})};
    return result;
  }

  nlohmann::json json(const char* name) const { return nlohmann::json::parse(read_file(folder_ / name)); }

  fs::path folder_;
};

TEST_F(ExportWriterTest, MergesAdaptersAndCopiesTheRest) {
  for (const bool bare : {true, false}) {
    const AdaptedEncoder tiny = encoder(bare ? "tiny" : "tiny_sharded", 2);
    const fs::path target = folder_ / (bare ? "bare" : "whole");
    fs::create_directories(target);
    write_merged(tiny, target, std::nullopt, one_file);
    const Safetensors base = Safetensors::open(tiny.base);
    const Safetensors merged = Safetensors::open(target);
    EXPECT_EQ(merged.names(), base.names());
    EXPECT_EQ(merged.contains("lm_head.weight"), !bare);
    for (const std::string& name : base.names()) {
      const std::string projection = (bare ? "model." : "") + name.substr(0, name.rfind('.'));
      at::Tensor expected = base.tensor(name);
      const auto adapter = tiny.adapters.find(projection);
      if (adapter != tiny.adapters.end()) expected = expected + 3 * adapter->second.B.mm(adapter->second.A);
      EXPECT_TRUE(merged.tensor(name).allclose(expected, 1e-5, 1e-5)) << name;
    }
  }
}

TEST_F(ExportWriterTest, LeavesOutBlocksThatAreNotUsed) {
  const AdaptedEncoder tiny = encoder("tiny_sharded", 1);
  write_merged(tiny, folder_, at::kBFloat16, one_file);
  const Safetensors merged = Safetensors::open(folder_);
  for (const std::string& name : merged.names()) {
    EXPECT_EQ(block_of(name).value_or(0), 0) << name;
    EXPECT_EQ(merged.info(name).dtype, at::kBFloat16) << name;
  }
  EXPECT_TRUE(merged.contains("lm_head.weight"));
  EXPECT_EQ(json("config.json")["num_hidden_layers"], 1);
  EXPECT_EQ(json("config.json")["hidden_size"], 64);
  EXPECT_EQ(json("config.json").value("dtype", json("config.json").value("torch_dtype", "")), "bfloat16");
}

TEST_F(ExportWriterTest, RefusesAdaptersOfOtherWeights) {
  AdaptedEncoder tiny = encoder("tiny", 2);
  tiny.adapters["model.layers.1.self_attn.k_proj"] = {at::rand({4, 64}), at::rand({16, 4})};
  try {
    write_merged(tiny, folder_, std::nullopt, one_file);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::data);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("layers.1.self_attn.k_proj"), HasSubstr("[32, 64]"), HasSubstr("[16,")));
  }
  tiny.adapters.erase("model.layers.1.self_attn.k_proj");
  tiny.adapters["model.layers.7.self_attn.k_proj"] = {at::rand({4, 64}), at::rand({32, 4})};
  EXPECT_THROW(write_merged(tiny, folder_, std::nullopt, one_file), Error);
}

TEST_F(ExportWriterTest, AdapterNamesWhatItAdapts) {
  AdaptedEncoder tiny = encoder("tiny", 2);
  write_adapter(tiny, folder_, at::kFloat);
  auto config = json("adapter_config.json");
  EXPECT_EQ(config["peft_type"], "LORA");
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(config["lora_alpha"].dump(), "12");
  EXPECT_EQ(config["lora_dropout"], 0.05);
  EXPECT_EQ(config["target_modules"], nlohmann::json({"down_proj", "k_proj"}));
  EXPECT_EQ(config["layers_to_transform"], nlohmann::json({0}));
  EXPECT_EQ(config["base_model_name_or_path"], tiny.base.string());
  const Safetensors adapter = Safetensors::open(folder_ / "adapter_model.safetensors");
  EXPECT_EQ(adapter.names().size(), 4u);
  EXPECT_TRUE(adapter.tensor("base_model.model.model.layers.0.mlp.down_proj.lora_B.weight")
                  .equal(tiny.adapters["model.layers.0.mlp.down_proj"].B));

  tiny.adapters["model.layers.1.self_attn.k_proj"] = tiny.adapters["model.layers.0.self_attn.k_proj"];
  write_adapter(tiny, folder_, at::kFloat);
  EXPECT_TRUE(json("adapter_config.json")["layers_to_transform"].is_null()) << "all blocks need no list";
}

TEST_F(ExportWriterTest, NamesOfBlocks) {
  EXPECT_EQ(block_of("model.layers.12.mlp.up_proj.weight"), 12);
  EXPECT_EQ(block_of("layers.0.input_layernorm.weight"), 0);
  for (const char* name : {"model.norm.weight", "lm_head.weight", "model.layers.", "layers.x.w", "model.layers.3"}) {
    EXPECT_EQ(block_of(name), std::nullopt) << name;
  }
}

TEST_F(ExportWriterTest, FolderIsThereWholeOrNotAtAll) {
  const fs::path path = folder_ / "out";
  const fs::path beside = folder_ / "out.partial";
  fs::create_directories(beside / "left by a killed job");
  {
    const PartialFolder folder(path);
    write_file_atomically(folder.beside() / "f", "x");
  }
  EXPECT_TRUE(fs::is_empty(folder_)) << "without commit() nothing stays";
  {
    PartialFolder folder(folder_ / "out/");
    write_file_atomically(folder.beside() / "f", "x");
    EXPECT_FALSE(fs::exists(path));
    folder.commit();
  }
  EXPECT_EQ(read_file(path / "f"), "x");
  EXPECT_FALSE(fs::exists(beside));
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all);
  EXPECT_THROW(PartialFolder{path}, Error) << "there already";
  EXPECT_THROW(check_output_folder(folder_ / "no" / "out"), Error);
  EXPECT_EQ(read_file(path / "f"), "x");
}

}  // namespace
}  // namespace medfuse::weights
