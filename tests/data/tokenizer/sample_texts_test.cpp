// Ids of every text of the sample data, in blocks of rows, against those of the `tokenizers` package.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "data/tables/csv_reader.h"
#include "tests/data/tokenizer/expectations.h"

namespace medfuse::data {
namespace {

// As make.py does with files that do not quote their cells.
std::string_view stripped(std::string_view cell) {
  const std::size_t begin = cell.find_first_not_of(" \t");
  return begin == std::string_view::npos ? std::string_view()
                                         : cell.substr(begin, cell.find_last_not_of(" \t") + 1 - begin);
}

class SampleTexts : public testing::TestWithParam<std::string> {};

TEST_P(SampleTexts, HaveTheExpectedIds) {
  const std::filesystem::path folder = base_folder(GetParam());
  if (folder.empty()) {
    GTEST_SKIP() << "the weights of SmolLM2 are not there: run launch/weights.sh or set MEDFUSE_SMOLLM2";
  }
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const auto rows_per_block = expected().at("rows_per_block").get<std::size_t>();
  for (const auto& column : expected().at("columns")) {
    const auto table = column.at("table").get<std::string>(), name = column.at("column").get<std::string>();
    const bool unquoted = column.at("folder") == "mimic3-demo";
    const auto samples = std::filesystem::path("data/samples") / column.at("folder").get<std::string>();
    CsvReader reader(require_table(samples, table, ""), {{name, ""}});
    const auto digests = column.at("digests").at(GetParam()).get<std::string>();
    std::size_t rows = 0, ids = 0, wrong = 0;
    Digest block;
    const auto finish_block = [&] {
      const std::size_t index = (rows - 1) / rows_per_block;
      if (block.end() != digests.substr(std::min(8 * index, digests.size()), 8) && ++wrong <= 3) {
        ADD_FAILURE() << column.at("folder") << " " << table << "." << name << ": rows " << index * rows_per_block + 1
                      << " to " << rows;
      }
      ids += block.count();
      block = Digest();
    };
    while (reader.next()) {
      block.add(tokenizer.encode(unquoted ? stripped(reader[0]) : reader[0]));
      if (++rows % rows_per_block == 0) finish_block();
    }
    if (rows % rows_per_block != 0) finish_block();
    EXPECT_EQ(wrong, 0u) << table << "." << name;
    EXPECT_EQ(rows, column.at("rows").get<std::size_t>()) << table << "." << name;
    EXPECT_EQ(ids, column.at("ids").at(GetParam()).get<std::size_t>()) << table << "." << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, SampleTexts, testing::Values("gpt2", "llama3", "smollm2"),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace medfuse::data
