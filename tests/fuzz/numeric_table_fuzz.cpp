// The plain numeric table of `medfuse impute`, and what is written once its empty cells are filled.
#include <algorithm>
#include <cmath>

#include "data/tables/numeric_table.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  const std::string_view content = fuzz::text_of(data, size);
  const auto path = fuzz::write_input("table.csv", content);
  fuzz::allow_refusal([&] {
    const auto table = data::NumericTable::read(path);
    auto values = table.values();
    fuzz::require(values.size() == table.rows() * table.columns(), "one value per cell");
    const auto empty = std::count_if(values.begin(), values.end(), [](double v) { return std::isnan(v); });
    fuzz::require(static_cast<std::size_t>(empty) == table.empty_cells(), "empty cells are NaN, and no others");
    for (double& value : values) value = std::isnan(value) ? -1234.56789 : value;
    const std::string full = table.completed(values);
    if (empty == 0) fuzz::require(full == content, "a full table stays as it is");
    const auto again = data::NumericTable::read(fuzz::write_input("full.csv", full));
    fuzz::require(again.empty_cells() == 0 && again.rows() == table.rows(), "what is written can be read");
  });
  return 0;
}
