// The suite that every communicator must pass, whatever carries it. A program instantiates it for its backends.
#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/communicator.h"
#include "tests/cluster/test_process.h"

namespace medfuse::cluster {

inline const std::vector<at::ScalarType> types = {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf, at::kLong, at::kByte};
inline const std::vector<std::int64_t> counts = {0, 1, 2, 5, 1000, 100003};

/// Small whole numbers, so that sums over a few ranks are exact in every type.
inline at::Tensor numbers(int rank, std::int64_t count, at::ScalarType type, at::Device device) {
  return ((at::arange(count, at::kLong) * 7 + rank * 13) % 31).to(type).to(device);
}

inline bool same(const at::Tensor& tensor, const at::Tensor& expected) {
  return at::equal(tensor.cpu().to(at::kDouble).view({-1}), expected.to(at::kDouble).view({-1}));
}

struct Backend {
  std::string name;
  /// Collective. Throws or returns a communicator over all ranks.
  std::function<std::unique_ptr<Communicator>()> make;
  /// Empty, or why it cannot run on this machine; the same on all ranks.
  std::function<std::string()> unavailable;
  bool names_peers = true;  ///< whether a time-out says who is missing
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
