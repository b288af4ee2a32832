// The lab table is streamed: ten times the rows must not take noticeably more memory.
#include <gtest/gtest.h>

#include <malloc.h>

#include <fstream>

#include "data/cohort/labs.h"
#include "tests/data/cohort/hospital.h"

namespace medfuse::data {
namespace {

using namespace medfuse::testing;

/// A line of /proc/self/status in KiB: "VmRSS:" is the resident size, "VmHWM:" its peak.
std::int64_t status_kib(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(name, 0) == 0) return std::stoll(line.substr(name.size()));
  }
  return -1;
}

struct Seen {
  std::size_t cells;
  std::int64_t growth_kib;  ///< of the resident size, at its peak
};

Seen read_labs(const std::filesystem::path& folder, int rows) {
  Hospital h = Hospital::with(20);
  for (int i = 0; i < rows; ++i) h.lab(1000 + i % 20, 7 + i % 3, std::to_string(i), "2150-01-01 13:00:00", "abnormal");
  h.write(folder);
  h = Hospital();
  const PackOptions options = options_of(folder, "unused");
  BadRows bad("stop", [](const std::string&) {});
  ScanContext context{bad, [](const std::string&, std::uint64_t) {}};
  std::vector<TableCount> counts;
  const Admissions admissions(options, {}, context, counts);
  malloc_trim(0);  // memory that was freed before must not hide the growth
  const std::int64_t before = status_kib("VmRSS:");
  std::ofstream("/proc/self/clear_refs") << "5";  // resets the peak
  const LabTable labs(options, admissions, context, counts);
  EXPECT_GE(counts.back().rows, static_cast<std::uint64_t>(rows));
  return {labs.cells(), status_kib("VmHWM:") - before};
}

TEST(Memory, DoesNotGrowWithTheRowsOfTheLabTable) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the address sanitizer holds on to memory that was freed";
#endif
  const Scratch scratch;
  const Seen few = read_labs(scratch / "few", 30'000);
  const Seen many = read_labs(scratch / "many", 300'000);
  EXPECT_EQ(few.cells, many.cells);  // bounded by admissions x items
  EXPECT_LE(few.cells, 2u * 20 * 3);
  if (status_kib("VmHWM:") < 0) GTEST_SKIP() << "no /proc/self/status";
  EXPECT_LT(many.growth_kib - few.growth_kib, 3 * 1024);  // the larger table is 14 MB
}

}  // namespace
}  // namespace medfuse::data
