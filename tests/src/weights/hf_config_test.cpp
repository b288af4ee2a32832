// Both wordings of config.json, and what is refused.
#include "src/weights/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace medfuse::weights {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class HfConfigTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("medfuse_config_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  LlamaConfig read(const json& config) {
    std::ofstream(folder_ / "config.json") << config;
    return read_llama_config(folder_);
  }
  std::string error_of(const json& config) {
    try {
      read(config);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::data);
      return error.what();
    }
    return "no error";
  }

  fs::path folder_;
  json good_ = {{"model_type", "llama"},       {"vocab_size", 100},         {"hidden_size", 64},
                {"intermediate_size", 128},    {"num_hidden_layers", 2},    {"num_attention_heads", 4},
                {"num_key_value_heads", 2},    {"rms_norm_eps", 1e-5},      {"rope_theta", 500000.0},
                {"tie_word_embeddings", true}, {"head_dim", nullptr},       {"rope_scaling", nullptr}};
};

TEST_F(HfConfigTest, ReadsBothWordingsOfRotaryScaling) {
  for (const char* folder : {"tests/fixtures/model/tiny", "tests/fixtures/model/tiny_sharded"}) {
    const LlamaConfig config = read_llama_config(folder);
    EXPECT_EQ(config.rope_theta, 10000) << folder;
    ASSERT_TRUE(config.rope_scaling) << folder;
    EXPECT_EQ(config.rope_scaling->factor, 8);
    EXPECT_EQ(config.rope_scaling->low_freq_factor, 1);
    EXPECT_EQ(config.rope_scaling->high_freq_factor, 4);
    EXPECT_EQ(config.rope_scaling->original_max_position_embeddings, 32);
    EXPECT_EQ(config.head_dim, 16);
    EXPECT_FALSE(config.tie_word_embeddings);
  }
}

TEST_F(HfConfigTest, FillsInWhatTheFileLeavesOut) {
  const LlamaConfig config = read(good_);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.rope_theta, 500000);
  EXPECT_FALSE(config.rope_scaling);
  EXPECT_TRUE(config.tie_word_embeddings);
  good_.erase("num_key_value_heads");
  good_["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(read(good_).num_key_value_heads, 4);
  EXPECT_EQ(read(good_).rope_linear_factor, 4);
}

TEST_F(HfConfigTest, NamesFileAndKeyOfWhatItRefuses) {
  const struct {
    const char* key;
    json value;
  } cases[] = {{"model_type", "gpt2"},
               {"hidden_act", "gelu"},
               {"attention_bias", true},
               {"mlp_bias", true},
               {"quantization_config", {{"bits", 4}}},
               {"hidden_size", nullptr},
               {"hidden_size", "64"},
               {"hidden_size", 0},
               {"hidden_size", 64.5},
               {"num_hidden_layers", -1},
               {"num_hidden_layers", 1e300},
               {"rms_norm_eps", "small"},
               {"num_key_value_heads", 3},
               {"head_dim", 15},
               {"rope_scaling", "llama3"},
               {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}},
               {"rope_scaling", {{"rope_type", "llama3"}, {"factor", 2.0}}},
               {"rope_parameters", {{"rope_type", "dynamic"}, {"rope_theta", 1e4}}}};
  for (const auto& test : cases) {
    json config = good_;
    config[test.key] = test.value;
    EXPECT_THAT(error_of(config), AllOf(HasSubstr("config.json"), HasSubstr(test.key))) << test.key << test.value;
  }
  EXPECT_THAT(error_of(json::array()), HasSubstr("not a JSON object"));
  fs::remove(folder_ / "config.json");
  EXPECT_THROW(read_llama_config(folder_), Error);
}

TEST_F(HfConfigTest, NamesTheRangeOfASizeThatNoModelHas) {
  const struct {
    const char* key;
    std::int64_t most;
  } cases[] = {{"vocab_size", 1 << 24},        {"hidden_size", 1 << 18},         {"intermediate_size", 1 << 20},
               {"num_hidden_layers", 512},     {"num_attention_heads", 1 << 12}, {"num_key_value_heads", 1 << 12},
               {"head_dim", 1 << 12},          {"max_position_embeddings", INT32_MAX}};
  good_["head_dim"] = 16;  // so that any number of heads goes with the width
  for (const auto& test : cases) {
    json config = good_;
    if (std::string(test.key) == "num_key_value_heads") config["num_attention_heads"] = test.most;
    config[test.key] = test.most;
    EXPECT_NO_THROW(read(config)) << test.key;
    for (const json& value : {json(test.most + 1), json(1000000000000), json(UINT64_MAX), json(0)}) {
      config[test.key] = value;
      EXPECT_THAT(error_of(config), AllOf(HasSubstr("config.json"), HasSubstr(test.key), HasSubstr("is " + value.dump()),
                                          HasSubstr("from 1 to " + std::to_string(test.most))));
    }
  }
}

}  // namespace
}  // namespace medfuse::weights
