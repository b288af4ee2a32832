// What a test expects of a collective whose peer is gone or disagrees.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace medfuse::cluster {

/// The message of the Error(communication) that f throws; empty if it throws none.
template <class F>
std::string communication_failure(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::communication);
    return error.what();
  }
  return "";
}

}  // namespace medfuse::cluster
