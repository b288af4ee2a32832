// Packed data written, read back, and damaged in every way that a disk or a copy can damage them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "base/checksum.h"
#include "base/files.h"
#include "data/packed/info_json.h"
#include "data/packed/reader.h"
#include "data/packed/writer.h"
#include "tests/base/scratch.h"
#include "tests/data/tables/table_files.h"

namespace medfuse::data {
namespace {

using medfuse::testing::error_of;
using medfuse::testing::Scratch;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;

PackedInfo example_info() {
  PackedInfo info;
  info.diseases = {"a", "b"};
  info.disease_codes = {{"1"}, {"2", "3"}};
  info.labs = {{7, "Lactate", "mmol/L", 0.1, 12.3}, {8, "Größe", "µg", -1, 1}, {9, "x", "", 0, 1}};
  info.tokenizer = "folder";
  info.tokenizer_fingerprint = "0123456789abcdef";
  info.vocabulary = 100;
  info.max_tokens = 9;
  info.sections = {"chief complaint"};
  info.abnormal_flags = {"abnormal"};
  info.tables = {{"tables.labs", "LABEVENTS"}};
  info.lab_value = "last";
  info.window_hours = 1.0 / 3;
  return info;
}

Sample example_sample(std::int64_t i) {
  Sample sample{100 + i, 50 + i / 2, static_cast<Split>(i % 3)};
  for (std::int64_t t = 0; t <= i % 9; ++t) sample.tokens.push_back(static_cast<std::int32_t>((i * 7 + t) % 100));
  sample.labs = {static_cast<float>(i) * 0.25f, 0.f, -1.f};
  sample.observed = {1, 0, static_cast<std::uint8_t>(i % 2)};
  sample.labels = {static_cast<std::uint8_t>(i % 2), static_cast<std::uint8_t>(i % 5 == 0)};
  return sample;
}

/// Shards of 10, 1 and 9 samples.
void write_example(const std::filesystem::path& folder, PackedInfo info = example_info()) {
  std::filesystem::create_directories(folder);
  PackedIndex index;
  index.info = std::move(info);
  index.info.samples = 20;
  std::int64_t next = 0, number = 0;
  for (const std::int64_t count : {10, 1, 9}) {
    std::vector<Sample> samples;
    for (std::int64_t i = 0; i < count; ++i) {
      samples.push_back(example_sample(next++));
      if (!index.info.has_labels) samples.back().labels.clear();
    }
    index.shards.push_back(write_shard(folder, number, index.info, samples));
    number += 2;  // an empty block leaves a gap
  }
  write_index(folder, index);
}

void expect_example(const Sample& sample, std::int64_t i) {
  const Sample expected = example_sample(i);
  EXPECT_EQ(sample.admission, expected.admission);
  EXPECT_EQ(sample.patient, expected.patient);
  EXPECT_EQ(sample.split, expected.split);
  EXPECT_EQ(sample.tokens, expected.tokens);
  EXPECT_EQ(sample.labs, expected.labs);
  EXPECT_EQ(sample.observed, expected.observed);
  EXPECT_EQ(sample.labels, expected.labels);
}

TEST(Packed, ReadsBackWhatWasWritten) {
  const Scratch scratch;
  write_example(scratch.path());
  const PackedReader reader(scratch.path());
  ASSERT_EQ(reader.size(), 20);
  for (std::int64_t i = 19; i >= 0; --i) {
    expect_example(reader.sample(i), i);
    EXPECT_EQ(reader.lengths()[static_cast<std::size_t>(i)], i % 9 + 1);
    EXPECT_EQ(reader.splits()[static_cast<std::size_t>(i)], static_cast<Split>(i % 3));
  }
  EXPECT_EQ(reader.indices(Split::validation), (std::vector<std::int64_t>{1, 4, 7, 10, 13, 16, 19}));
  EXPECT_THROW(reader.sample(20), std::logic_error);
  EXPECT_THROW(reader.sample(-1), std::logic_error);
  PackedInfo expected = example_info();
  expected.samples = 20;
  EXPECT_EQ(info_to_json(reader.info()), info_to_json(expected));
  EXPECT_EQ(reader.info().window_hours, 1.0 / 3);
}

TEST(Packed, WithoutLabelsOrLabs) {
  const Scratch scratch;
  PackedInfo info = example_info();
  info.has_labels = false;
  write_example(scratch.path(), info);
  EXPECT_TRUE(PackedReader(scratch.path()).sample(3).labels.empty());
  EXPECT_EQ(PackedReader(scratch.path()).sample(3).tokens, example_sample(3).tokens);
}

/// Samples [0, samples) by four threads, each in an order of its own.
void expect_read_by_threads(const PackedReader& reader, std::int64_t samples, std::int64_t reads) {
  std::vector<std::thread> threads;
  for (std::int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t i = 0; i < reads; ++i) expect_example(reader.sample((i * 7 + t) % samples), (i * 7 + t) % samples);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// One sample in each shard.
void write_many_shards(const std::filesystem::path& folder, std::int64_t shards) {
  PackedIndex index;
  index.info = example_info();
  index.info.samples = shards;
  for (std::int64_t i = 0; i < shards; ++i) {
    const Sample sample = example_sample(i);
    index.shards.push_back(write_shard(folder, i, index.info, std::span(&sample, 1)));
  }
  write_index(folder, index);
}

TEST(Packed, ReadByManyThreads) {
  const Scratch scratch;
  write_example(scratch.path());
  expect_read_by_threads(PackedReader(scratch.path()), 20, 400);
}

TEST(Packed, MoreShardsThanOpenFiles) {
  const Scratch scratch;
  write_many_shards(scratch.path(), 300);
  const PackedReader reader(scratch.path());
  for (int round = 0; round < 2; ++round) {
    for (std::int64_t i = 0; i < 300; ++i) expect_example(reader.sample(i), i);
  }
}

TEST(Packed, ManyThreadsAndMoreShardsThanOpenFiles) {
  const Scratch scratch;
  write_many_shards(scratch.path(), 150);
  expect_read_by_threads(PackedReader(scratch.path()), 150, 600);
}

TEST(Packed, DamagedShardsAreOneClearError) {
  const Scratch scratch;
  write_example(scratch.path());
  const auto path = scratch / "shard-00002.h5";
  const std::string good = read_file(path);
  const auto open = [&] { PackedReader reader(scratch.path()); };
  for (std::size_t at = 0; at < good.size(); at += good.size() / 37) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    write_file_atomically(path, bad);
    EXPECT_THAT(error_of(open), AllOf(HasSubstr("shard-00002.h5"), HasSubstr("corrupted"), HasSubstr("pack")));
  }
  write_file_atomically(path, good.substr(0, good.size() - 100));
  EXPECT_THAT(error_of(open), AllOf(HasSubstr("shard-00002.h5"), HasSubstr("bytes")));
  write_file_atomically(path, "");
  EXPECT_THAT(error_of(open), HasSubstr("shard-00002.h5"));
  std::filesystem::remove(path);
  EXPECT_THAT(error_of(open), AllOf(HasSubstr("shard-00002.h5"), HasSubstr("missing")));
  write_file_atomically(path, good);
  EXPECT_EQ(error_of(open), "");
}

TEST(Packed, ShardOfAnotherDataSetIsRefused) {
  const Scratch scratch;
  write_example(scratch / "a");
  PackedInfo info = example_info();
  info.tokenizer_fingerprint = "ffffffffffffffff";
  write_example(scratch / "b", info);
  std::filesystem::copy_file(scratch / "b/shard-00002.h5", scratch / "a/shard-00002.h5",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(error_of([&] { PackedReader reader(scratch / "a"); }), AllOf(HasSubstr("shard-00002.h5"), HasSubstr("corrupted")));
}

/// One sample of 9 tokens, its offsets as given, and an index with the right checksum.
PackedIndex write_one(const std::filesystem::path& folder, const std::vector<std::int64_t>& offsets = {0, 9}) {
  const Sample sample = example_sample(8);
  PackedIndex index;
  index.info = example_info();
  index.info.samples = 1;
  index.shards = {write_shard(folder, 0, index.info, std::span(&sample, 1))};
  const auto path = folder / index.shards[0].file;
  std::string bytes = read_file(path);
  std::memcpy(bytes.data() + index.shards[0].arrays.at("tokens/offsets"), offsets.data(), 2 * sizeof(std::int64_t));
  write_file_atomically(path, bytes);
  index.shards[0].checksum = file_checksum(path);
  write_index(folder, index);
  return index;
}

TEST(Packed, WrongOffsetsAreCaughtBeforeTheyAreUsed) {
  const Scratch scratch;
  const auto open = [&] { PackedReader reader(scratch.path()); };
  for (const std::vector<std::int64_t>& offsets : {std::vector<std::int64_t>{0, -1}, {1, 9}, {0, 0}, {0, 900}, {-9, 0}}) {
    write_one(scratch.path(), offsets);
    EXPECT_THAT(error_of(open), HasSubstr("tokens/offsets"));
  }
  write_one(scratch.path());
  EXPECT_EQ(error_of(open), "");
}

TEST(Packed, ArraysThatLieOutsideTheFileAreCaughtBeforeTheyAreUsed) {
  const Scratch scratch;
  const PackedIndex good = write_one(scratch.path());
  for (const auto& [name, at] : good.shards[0].arrays) {
    for (const std::uint64_t wrong : {good.shards[0].bytes, good.shards[0].bytes + 1, ~std::uint64_t{0}}) {
      PackedIndex index = good;
      index.shards[0].arrays[name] = wrong;
      write_index(scratch.path(), index);
      EXPECT_THAT(error_of([&] { PackedReader reader(scratch.path()); }), HasSubstr(name + " disagrees"));
    }
    PackedIndex index = good;
    index.shards[0].arrays.erase(name);
    write_index(scratch.path(), index);
    EXPECT_THAT(error_of([&] { PackedReader reader(scratch.path()); }), HasSubstr(name + " disagrees"));
  }
}

TEST(Packed, ASampleCountThatTheFileCannotHoldIsCaughtBeforeMemoryIsTaken) {
  const Scratch scratch;
  PackedIndex index = write_one(scratch.path());
  index.info.samples = index.shards[0].samples = std::int64_t{1} << 60;
  write_index(scratch.path(), index);
  EXPECT_THAT(error_of([&] { PackedReader reader(scratch.path()); }), HasSubstr("disagrees"));
}

TEST(Packed, BrokenIndexIsOneClearError) {
  const Scratch scratch;
  const auto open = [&] { PackedReader reader(scratch.path()); };
  EXPECT_THAT(error_of(open), AllOf(HasSubstr("index.json"), HasSubstr("medfuse pack")));
  write_example(scratch.path());
  const std::string good = read_file(scratch / "index.json");
  const auto says = [&](const std::string& text) {
    write_file_atomically(scratch / "index.json", text);
    return error_of(open);
  };
  // As somebody would change it who also mends its checksum.
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string bad = good;
    const std::size_t at = bad.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    bad.replace(at, from.size(), to);
    return says(seal(bad.substr(seal_bytes)));
  };
  EXPECT_THAT(with("\"version\": 3", "\"version\": 4"), HasSubstr("version 4"));
  EXPECT_THAT(says(R"({"format": "medfuse packed data", "version": 2, "info": {}})"),  // had no checksum yet
              AllOf(HasSubstr("version 2"), HasSubstr("pack the data again")));
  EXPECT_THAT(with("\"sections\": [", "\"sections\": [" + std::string(100'000, '[')), HasSubstr("not valid JSON"));
  const std::string deep = "\"sections\": " + std::string(100'000, '[') + std::string(100'000, ']') + ", \"old\": [";
  EXPECT_THAT(with("\"sections\": [", deep), HasSubstr("not valid JSON"));
  EXPECT_THAT(with("\"max_tokens\"", "\"min_tokens\""), HasSubstr("'max_tokens' is missing"));
  EXPECT_THAT(with("\"samples\": 20", "\"samples\": 21"), HasSubstr("instead of 21"));
  EXPECT_THAT(with("\"samples\": 20", "\"samples\": \"x\""), HasSubstr("'samples' has a wrong type"));
  EXPECT_THAT(with("\"samples\": 20", "\"samples\": 1e300"), HasSubstr("'samples' has a wrong type"));
  EXPECT_THAT(with("\"low\": 0.1", "\"low\": 12.3"), HasSubstr("no scale"));
  EXPECT_THAT(with("shard-00002.h5", "../secret.h5"), HasSubstr("plain name"));
  EXPECT_THAT(with("medfuse packed data", "something else"), HasSubstr("not an index"));
  EXPECT_THAT(says("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(says("{\n" + good.substr(seal_bytes)), HasSubstr("first line"));
  EXPECT_EQ(says(good), "");
}

TEST(Packed, AnyChangedByteAndAnyCutOfTheIndexIsCaught) {
  const Scratch scratch;
  write_one(scratch.path());
  const std::string good = read_file(scratch / "index.json");
  const auto says = [&](const std::string& text) {
    std::ofstream(scratch / "index.json") << text;  // thousands of times: without a sync
    return error_of([&] { read_index(scratch / "index.json", {.damaged = "bring it back"}); });
  };
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x01);  // a digit stays one, and a letter mostly
    EXPECT_THAT(says(bad), EndsWith("bring it back")) << at;
    EXPECT_THAT(says(good.substr(0, at)), EndsWith("bring it back")) << at;
  }
  EXPECT_EQ(says(good), "");
}

TEST(Packed, SamplesMustFitTheDataSet) {
  const Scratch scratch;
  Sample sample = example_sample(0);
  sample.tokens.clear();
  EXPECT_THROW(write_shard(scratch.path(), 0, example_info(), std::span(&sample, 1)), std::logic_error);
  sample = example_sample(0);
  sample.labs.pop_back();
  EXPECT_THROW(write_shard(scratch.path(), 0, example_info(), std::span(&sample, 1)), std::logic_error);
}

}  // namespace
}  // namespace medfuse::data
