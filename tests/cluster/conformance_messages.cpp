// The part of the suite on messages between two members, and all_to_all.
#include <stdexcept>
#include <utility>

#include "tests/cluster/conformance.h"

namespace medfuse::cluster {
namespace {

TEST_P(Conformance, AllToAllExchangesBlocks) {
  for (const auto type : types) {
    for (const auto count : counts) {
      at::Tensor input = at::empty({size_, count}, at::TensorOptions(communicator_->device()).dtype(type));
      for (int r = 0; r < size_; ++r) input[r].copy_(numbers(10 * rank_ + r, count, type, communicator_->device()));
      const at::Tensor before = input.clone();
      at::Tensor output = at::zeros_like(input);
      communicator_->all_to_all(output, input)->wait();
      for (int r = 0; r < size_; ++r) {
        EXPECT_TRUE(same(output[r], numbers(10 * r + rank_, count, at::kLong, at::kCPU)))
            << at::toString(type) << " from " << r;
      }
      EXPECT_TRUE(at::equal(input, before));
    }
  }
}

TEST_P(Conformance, MessagesGoRoundARing) {
  if (size_ == 1) GTEST_SKIP() << "needs two members";
  const int next = (rank_ + 1) % size_, previous = (rank_ - 1 + size_) % size_;
  for (const auto type : types) {
    auto lengths = counts;
    if (type == at::kFloat) lengths.push_back(std::int64_t{3} << 20);  // more than a backend would buffer
    for (const auto count : lengths) {
      const at::Tensor own = numbers(rank_, count, type, communicator_->device());
      at::Tensor other = at::zeros_like(own);
      // All send before they receive: none may wait for its receiver before it has asked for what it receives itself.
      const auto sent = communicator_->send(own, next);
      const auto received = communicator_->receive(other, previous);
      sent->wait();
      received->wait();
      EXPECT_TRUE(same(other, numbers(previous, count, at::kLong, at::kCPU))) << at::toString(type) << " x " << count;
    }
  }
}

TEST_P(Conformance, MessagesOfAPairKeepTheirOrder) {
  // Every member sends three messages to every other, shorter and shorter, so that the last could overtake the first.
  std::vector<std::unique_ptr<Work>> works;
  std::vector<std::pair<at::Tensor, at::Tensor>> got_and_expected;
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    for (const int i : {3, 2, 1}) {
      const std::int64_t count = i * i * i * 10000;
      works.push_back(communicator_->send(numbers(rank_ + i, count, at::kFloat, communicator_->device()), r));
      at::Tensor t = at::zeros({count}, at::TensorOptions(communicator_->device()).dtype(at::kFloat));
      works.push_back(communicator_->receive(t, r));
      got_and_expected.emplace_back(t, numbers(r + i, count, at::kFloat, at::kCPU));
    }
  }
  for (auto work = works.rbegin(); work != works.rend(); ++work) (*work)->wait();
  for (const auto& [got, expected] : got_and_expected) EXPECT_TRUE(same(got, expected));
}

TEST_P(Conformance, MessagesOfTwoDoNotDisturbTheCollectivesOfAll) {
  if (size_ == 1) GTEST_SKIP() << "needs two members";
  for (int round = 0; round < 5; ++round) {
    at::Tensor first = at::full({20000}, 1.0 + rank_, at::TensorOptions(communicator_->device()).dtype(at::kFloat));
    at::Tensor second = at::full({7}, 2.0 + round, first.options());
    at::Tensor message = at::full({30000}, rank_ == 0 ? 5.0 + round : 0.0, first.options());
    const auto before = communicator_->all_reduce(first, Reduction::sum);
    std::unique_ptr<Work> between;
    if (rank_ == 0) between = communicator_->send(message, size_ - 1);
    if (rank_ == size_ - 1) between = communicator_->receive(message, 0);
    communicator_->all_reduce(second, Reduction::sum)->wait();
    before->wait();
    if (between) between->wait();
    EXPECT_TRUE(same(first, at::full({20000}, size_ * (size_ + 1) / 2.0)));
    EXPECT_TRUE(same(second, at::full({7}, size_ * (2.0 + round))));
    const bool concerned = rank_ == 0 || rank_ == size_ - 1;
    EXPECT_TRUE(same(message, at::full({30000}, concerned ? 5.0 + round : 0.0)));
  }
}

TEST_P(Conformance, AMessageMayBeForgotten) {
  at::Tensor t = numbers(rank_, 50000, at::kFloat, communicator_->device());
  for (int r = 1; r < size_; ++r) {
    if (rank_ == 0) {
      communicator_->send(t, r);
    } else if (rank_ == r) {
      communicator_->receive(t, 0)->wait();
    }
  }
  communicator_->barrier();
  EXPECT_TRUE(same(t, numbers(0, 50000, at::kLong, at::kCPU)));
}

TEST_P(Conformance, FaultsInMessagesThrowBeforeAnythingIsSent) {
  const at::TensorOptions options(communicator_->device());
  const at::Tensor good = at::zeros({size_, 4}, options);
  for (const int member : {-1, rank_, size_}) {
    EXPECT_THROW(communicator_->send(good, member), std::logic_error);
    EXPECT_THROW(communicator_->receive(good, member), std::logic_error);
  }
  const int other = (rank_ + 1) % size_;
  EXPECT_THROW(communicator_->send(at::Tensor(), other), std::logic_error);
  EXPECT_THROW(communicator_->send(good.to(at::kInt), other), std::logic_error);
  EXPECT_THROW(communicator_->receive(at::zeros({2, 3}, options).t(), other), std::logic_error);
  EXPECT_THROW(communicator_->all_to_all(at::zeros({size_, 3}, options), good), std::logic_error);
  EXPECT_THROW(communicator_->all_to_all(at::zeros({size_, 4}, options.dtype(at::kDouble)), good), std::logic_error);
  EXPECT_THROW(communicator_->all_to_all(good, good), std::logic_error);
  if (size_ > 1) {
    const at::Tensor odd = at::zeros({size_ + 1}, options);
    EXPECT_THROW(communicator_->all_to_all(odd.clone(), odd), std::logic_error);
  }
  communicator_->barrier();
}

}  // namespace
}  // namespace medfuse::cluster
