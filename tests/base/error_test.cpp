#include "base/error.h"

#include <gtest/gtest.h>

namespace medfuse {
namespace {

template <class F>
ExitCode code_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "row 7: no");
    return error.code();
  }
  return ExitCode::done;
}

TEST(Error, EachKindCarriesItsExitCode) {
  EXPECT_EQ(code_of([] { usage_error("row {}: {}", 7, "no"); }), ExitCode::usage);
  EXPECT_EQ(code_of([] { data_error("row {}: {}", 7, "no"); }), ExitCode::data);
  EXPECT_EQ(code_of([] { communication_error("row {}: {}", 7, "no"); }), ExitCode::communication);
  EXPECT_EQ(code_of([] { numeric_error("row {}: {}", 7, "no"); }), ExitCode::numeric);
  EXPECT_EQ(static_cast<int>(ExitCode::stopped), 85);
  EXPECT_EQ(static_cast<int>(ExitCode::communication), 4);
}

TEST(Error, StaysOneLineWhateverAFileBringsIn) {
  EXPECT_STREQ(Error(ExitCode::data, "key 'a\n\x1b[31m\tb\x7f' \xc3\xa9").what(), "key 'a  [31m b ' \xc3\xa9");
}

}  // namespace
}  // namespace medfuse
