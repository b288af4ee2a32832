#include "tests/cluster/conformance.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <stdexcept>
#include <vector>

namespace medfuse::cluster {
namespace {

at::Tensor sum_of_numbers(int ranks, std::int64_t count) {
  at::Tensor sum = at::zeros({count}, at::kLong);
  for (int r = 0; r < ranks; ++r) sum += numbers(r, count, at::kLong, at::kCPU);
  return sum;
}

at::Tensor max_of_numbers(int ranks, std::int64_t count) {
  at::Tensor max = numbers(0, count, at::kLong, at::kCPU);
  for (int r = 1; r < ranks; ++r) max = at::maximum(max, numbers(r, count, at::kLong, at::kCPU));
  return max;
}

TEST_P(Conformance, AllReduceSumsEveryTypeAndSize) {
  for (const auto type : types) {
    for (const auto count : counts) {
      at::Tensor t = numbers(rank_, count, type, communicator_->device());
      communicator_->all_reduce(t, Reduction::sum)->wait();
      EXPECT_TRUE(same(t, sum_of_numbers(size_, count))) << at::toString(type) << " x " << count;
    }
  }
}

TEST_P(Conformance, AllReduceTakesTheMaximum) {
  for (const auto type : types) {
    for (const auto count : counts) {
      at::Tensor t = numbers(rank_, count, type, communicator_->device());
      communicator_->all_reduce(t, Reduction::max)->wait();
      EXPECT_TRUE(same(t, max_of_numbers(size_, count))) << at::toString(type) << " x " << count;
    }
  }
}

TEST_P(Conformance, MaximumOfNegativeNumbersIsNotZero) {
  at::Tensor t = at::full({3}, -5.0 - rank_, at::TensorOptions(communicator_->device()).dtype(at::kFloat));
  communicator_->all_reduce(t, Reduction::max)->wait();
  EXPECT_TRUE(same(t, at::full({3}, -5.0)));
}

TEST_P(Conformance, HalfSumsAreRoundedOnce) {
  // bf16 has 8 bits: 256 + 1 is 256 again, so a sum rounded at every step never leaves 256.
  for (const std::int64_t count : {4, 40000}) {
    for (const auto type : {at::kBFloat16, at::kHalf}) {
      const double large = type == at::kHalf ? 2048 : 256;
      const at::TensorOptions options = at::TensorOptions(communicator_->device()).dtype(type);
      at::Tensor t = at::full({count}, rank_ == 0 ? large : 1.0, options);
      communicator_->all_reduce(t, Reduction::sum)->wait();
      const at::Tensor expected = at::full({count}, large + size_ - 1, at::kFloat).to(type);
      EXPECT_TRUE(same(t, expected)) << at::toString(type) << ": " << t[0].item<double>();
      const at::Tensor input = at::full({size_ * count}, rank_ == 0 ? large : 1.0, options);
      at::Tensor part = at::zeros({count}, options);
      communicator_->reduce_scatter(part, input, Reduction::sum)->wait();
      EXPECT_TRUE(same(part, expected)) << "reduce_scatter of " << at::toString(type) << ": " << part[0].item<double>();
    }
  }
}

TEST_P(Conformance, BroadcastFromEveryRoot) {
  for (const auto type : types) {
    for (int root = 0; root < size_; ++root) {
      for (const auto count : counts) {
        at::Tensor t = numbers(rank_, count, type, communicator_->device());
        communicator_->broadcast(t, root)->wait();
        EXPECT_TRUE(same(t, numbers(root, count, at::kLong, at::kCPU))) << at::toString(type) << " root " << root;
      }
    }
  }
}

TEST_P(Conformance, AllGatherKeepsRankOrder) {
  for (const auto type : types) {
    for (const auto count : counts) {
      const at::Tensor input = numbers(rank_, count, type, communicator_->device());
      at::Tensor output = at::zeros({size_, count}, input.options());
      communicator_->all_gather(output, input)->wait();
      for (int r = 0; r < size_; ++r) {
        EXPECT_TRUE(same(output[r], numbers(r, count, at::kLong, at::kCPU))) << at::toString(type) << " from " << r;
      }
    }
  }
}

TEST_P(Conformance, ReduceScatterGivesEachItsBlock) {
  for (const auto type : types) {
    for (const auto count : counts) {
      const at::Tensor input = numbers(rank_, count * size_, type, communicator_->device());
      const at::Tensor before = input.clone();
      at::Tensor output = at::zeros({count}, input.options());
      communicator_->reduce_scatter(output, input, Reduction::sum)->wait();
      EXPECT_TRUE(same(output, sum_of_numbers(size_, count * size_).narrow(0, rank_ * count, count)));
      communicator_->reduce_scatter(output, input, Reduction::max)->wait();
      EXPECT_TRUE(same(output, max_of_numbers(size_, count * size_).narrow(0, rank_ * count, count)));
      EXPECT_TRUE(at::equal(input, before));
    }
  }
}

TEST_P(Conformance, RepeatsItsBits) {
  torch::manual_seed(rank_ + 1);
  for (const std::int64_t count : {100, 70001}) {
    const at::Tensor own = at::randn({count}, at::TensorOptions(communicator_->device()).dtype(at::kFloat));
    at::Tensor first = own.clone(), again = own.clone();
    communicator_->all_reduce(first, Reduction::sum)->wait();
    communicator_->all_reduce(again, Reduction::sum)->wait();
    EXPECT_TRUE(at::equal(first, again));
    at::Tensor all = at::empty({size_, count}, own.options());
    communicator_->all_gather(all, first)->wait();
    for (int r = 0; r < size_; ++r) EXPECT_TRUE(at::equal(all[r], first)) << "rank " << r << " has other bits";
  }
}

TEST_P(Conformance, SeveralUnderWayWaitedForInAnyOrder) {
  std::vector<at::Tensor> tensors;
  std::vector<std::unique_ptr<Work>> works;
  for (int i = 0; i < 6; ++i) {
    tensors.push_back(numbers(rank_ + i, 20000 + 1000 * i, at::kFloat, communicator_->device()));
    works.push_back(communicator_->all_reduce(tensors.back(), Reduction::sum));
  }
  for (int i = 0; i < 6; ++i) works[static_cast<std::size_t>((i + rank_) % 6)]->wait();
  for (int i = 0; i < 6; ++i) {
    at::Tensor expected = at::zeros({20000 + 1000 * i}, at::kLong);
    for (int r = 0; r < size_; ++r) expected += numbers(r + i, expected.numel(), at::kLong, at::kCPU);
    EXPECT_TRUE(same(tensors[static_cast<std::size_t>(i)], expected)) << i;
  }
}

TEST_P(Conformance, TensorsLiveAsLongAsTheirWork) {
  std::unique_ptr<Work> work;
  at::Tensor output = at::empty({size_ * 50000}, at::TensorOptions(communicator_->device()).dtype(at::kFloat));
  {
    const at::Tensor input = at::full({50000}, 1.0 + rank_, output.options());
    work = communicator_->all_gather(output, input);
  }
  const at::Tensor other = at::full({50000}, -1.0, output.options());  // would reuse freed memory
  work->wait();
  for (int r = 0; r < size_; ++r) EXPECT_TRUE(same(output.narrow(0, r * 50000, 50000), at::full({50000}, 1.0 + r)));
}

TEST_P(Conformance, AWorkMayBeForgotten) {
  at::Tensor t = numbers(rank_, 50000, at::kFloat, communicator_->device());
  communicator_->all_reduce(t, Reduction::sum);
  at::Tensor u = numbers(rank_, 50000, at::kFloat, communicator_->device());
  communicator_->all_reduce(u, Reduction::sum)->wait();
  EXPECT_TRUE(same(u, sum_of_numbers(size_, 50000)));
}

TEST_P(Conformance, WaitingTwiceIsHarmless) {
  at::Tensor t = numbers(rank_, 5, at::kFloat, communicator_->device());
  const auto work = communicator_->all_reduce(t, Reduction::sum);
  work->wait();
  work->wait();
  EXPECT_TRUE(same(t, sum_of_numbers(size_, 5)));
}

TEST_P(Conformance, SplitsIntoGroups) {
  const auto group = communicator_->split(rank_ % 2, -rank_);  // the highest rank comes first
  const int members = (size_ - rank_ % 2 + 1) / 2;
  ASSERT_EQ(group->size(), members);
  EXPECT_EQ(group->rank(), members - 1 - rank_ / 2);
  EXPECT_EQ(group->backend(), communicator_->backend());
  at::Tensor t = at::full({9000}, rank_, at::TensorOptions(communicator_->device()).dtype(at::kFloat));
  at::Tensor u = at::ones({9000}, t.options());
  // One of each under way, and neighbours wait for them in opposite orders.
  auto inner = group->all_reduce(t, Reduction::sum);
  auto outer = communicator_->all_reduce(u, Reduction::sum);
  if (rank_ / 2 % 2 == 0) outer->wait();
  inner->wait();
  outer->wait();
  double expected = 0;
  for (int r = rank_ % 2; r < size_; r += 2) expected += r;
  EXPECT_TRUE(same(t, at::full({9000}, expected)));
  EXPECT_TRUE(same(u, at::full({9000}, size_)));
  at::Tensor order = at::full({1}, rank_, at::TensorOptions(communicator_->device()).dtype(at::kLong));
  at::Tensor all = at::empty({members}, order.options());
  group->all_gather(all, order)->wait();
  EXPECT_EQ(all[0].item<std::int64_t>(), rank_ % 2 + 2 * (members - 1));
  const auto again = group->split(0, group->rank());
  EXPECT_EQ(again->size(), members);
  again->barrier();
}

TEST_P(Conformance, CallersFaultsThrowBeforeAnythingIsSent) {
  const at::TensorOptions options(communicator_->device());
  const at::Tensor good = at::zeros({4, 4}, options);
  EXPECT_THROW(communicator_->all_reduce(at::Tensor(), Reduction::sum), std::logic_error);
  EXPECT_THROW(communicator_->all_reduce(good.t(), Reduction::sum), std::logic_error);
  EXPECT_THROW(communicator_->all_reduce(good.to(at::kInt), Reduction::sum), std::logic_error);
  EXPECT_THROW(communicator_->all_reduce(at::zeros({2}, at::kMeta), Reduction::sum), std::logic_error);
  EXPECT_THROW(communicator_->all_reduce(at::eye(3, options).to_sparse(), Reduction::sum), std::logic_error);
  EXPECT_THROW(communicator_->broadcast(good, size_), std::logic_error);
  EXPECT_THROW(communicator_->broadcast(good, -1), std::logic_error);
  EXPECT_THROW(communicator_->all_gather(at::zeros({16 * size_ + 1}, options), good), std::logic_error);
  EXPECT_THROW(communicator_->all_gather(at::zeros({16 * size_}, options.dtype(at::kDouble)), good), std::logic_error);
  EXPECT_THROW(communicator_->reduce_scatter(good, at::zeros({16 * size_ + 1}, options), Reduction::sum),
               std::logic_error);
  EXPECT_THROW(communicator_->split(-1, 0), std::logic_error);
  at::Tensor t = numbers(rank_, 100, at::kFloat, communicator_->device());
  communicator_->all_reduce(t, Reduction::sum)->wait();
  EXPECT_TRUE(same(t, sum_of_numbers(size_, 100)));
}

TEST_P(Conformance, ParametersThatRequireGradientsAreFine) {
  at::Tensor t = at::ones({7}, at::TensorOptions(communicator_->device()).dtype(at::kFloat)).requires_grad_();
  communicator_->broadcast(t, 0)->wait();
  communicator_->all_reduce(t, Reduction::sum)->wait();
  EXPECT_TRUE(t.is_leaf());
  EXPECT_TRUE(same(t.detach(), at::full({7}, size_)));
}

TEST_P(Conformance, BarrierReturns) {
  for (int i = 0; i < 20; ++i) communicator_->barrier();
}

}  // namespace
}  // namespace medfuse::cluster
