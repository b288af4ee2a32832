#include "data/tables/bad_rows.h"

#include <utility>

#include "base/error.h"
#include "data/tables/fields.h"

namespace medfuse::data {

BadRows::BadRows(const std::string& policy, Log log, std::uint64_t shown)
    : stop_(policy == "stop"), log_(std::move(log)), shown_(shown) {
  if (policy != "skip" && policy != "stop") usage_error("bad_rows = {}: must be skip or stop", policy);
}

void BadRows::add(const CsvReader& reader, const std::string& reason) {
  if (stop_) {
    data_error("{}: row {} (line {}): {}: correct the row, or set bad_rows = skip", reader.path().string(),
               reader.row(), reader.line(), reason);
  }
  const std::uint64_t count = ++counts_[reason];
  if (count <= shown_) {
    log_(fmt::format("bad row skipped: {}: row {} (line {}): {}", reader.path().string(), reader.row(), reader.line(),
                     reason));
  }
}

bool BadRows::check(const CsvReader& reader, std::size_t columns) {
  if (!reader.complete()) {
    add(reader, "another number of cells than the header has");
    return false;
  }
  for (std::size_t i = 0; i < columns; ++i) {
    if (!is_utf8(reader[i])) {
      add(reader, "not UTF-8");
      return false;
    }
  }
  return true;
}

std::uint64_t BadRows::finish(const CsvReader& reader) {
  std::uint64_t sum = 0;
  for (const auto& [reason, count] : counts_) {
    log_(fmt::format("{}: {} bad row{} skipped: {}", reader.path().string(), count, count == 1 ? "" : "s", reason));
    sum += count;
  }
  counts_.clear();
  return sum;
}

}  // namespace medfuse::data
