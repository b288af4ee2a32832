// The suite that every communicator must pass, whatever carries it. A program instantiates it for its backends.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "cluster/communicator.h"
#include "tests/cluster/test_process.h"

namespace medfuse::cluster {

struct Backend {
  std::string name;
  /// Collective. Throws or returns a communicator over all ranks.
  std::function<std::unique_ptr<Communicator>()> make;
  /// Empty, or why it cannot run on this machine; the same on all ranks.
  std::function<std::string()> unavailable;
};

class Conformance : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (const std::string reason = GetParam().unavailable(); !reason.empty()) GTEST_SKIP() << reason;
    communicator_ = GetParam().make();
    rank_ = communicator_->rank();
    size_ = communicator_->size();
  }
  void TearDown() override {
    if (communicator_) test_process().barrier();
  }

  std::unique_ptr<Communicator> communicator_;
  int rank_ = 0;
  int size_ = 1;
};

inline std::string backend_name(const testing::TestParamInfo<Backend>& info) { return info.param.name; }

}  // namespace medfuse::cluster
