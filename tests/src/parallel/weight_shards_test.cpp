// Weights that the ranks share: whole when fetched, to the bit, and otherwise a share of them.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <optional>

#include "cluster/mpi_communicator.h"
#include "cluster/wrapped_communicator.h"
#include "src/parallel/weight_shards.h"
#include "tests/cluster/test_process.h"

namespace medfuse::parallel {
namespace {

/// The same on every rank: units of odd sizes, a transposed weight, a narrow one, and one of two bytes an element.
std::vector<std::vector<at::Tensor>> units() {
  torch::manual_seed(7);
  return {{torch::randn({40, 24})},
          {torch::randn({13, 7}), torch::randn({5}), torch::randn({30, 11}).t()},
          {torch::randn({13, 7}), torch::randn({5}), torch::randn({9, 50}).narrow(1, 3, 30)},
          {torch::randn({3, 100}).to(at::kBFloat16)},
          {torch::randn({1})}};
}

std::int64_t bytes_of(const std::vector<at::Tensor>& weights) {
  std::int64_t bytes = 0;
  for (const at::Tensor& weight : weights) bytes += static_cast<std::int64_t>(weight.nbytes());
  return bytes;
}

/// Leaves out one gathering: this rank sees its own share in the place of all.
class Forgetful : public cluster::WrappedCommunicator {
 public:
  using WrappedCommunicator::WrappedCommunicator;
  std::unique_ptr<cluster::Work> all_gather(const at::Tensor& output, const at::Tensor& input) override {
    auto work = WrappedCommunicator::all_gather(output, input);
    if (forget) {
      work->wait();
      output.view({size(), -1}).copy_(input.expand({size(), -1}));
    }
    return work;
  }
  bool forget = false;
};

class WeightShardsTest : public testing::Test {
 protected:
  void SetUp() override { world_ = cluster::make_mpi_communicator(cluster::test_process()); }
  std::unique_ptr<cluster::Communicator> world_;
};

TEST_F(WeightShardsTest, AUnitIsWholeWhenItIsFetched) {
  const auto expected = units(), given = units();
  WeightShards shards(world_->split(0, world_->rank()));
  for (const auto& unit : given) shards.adopt(unit);
  EXPECT_EQ(shards.whole_bytes(), 0);
  const auto fetch = [&](std::size_t unit, std::optional<std::size_t> next) {
    shards.fetch(unit, next);
    for (std::size_t i = 0; i < expected[unit].size(); ++i) {
      EXPECT_TRUE(at::equal(given[unit][i], expected[unit][i])) << "unit " << unit << ", weight " << i;
    }
  };
  for (std::size_t unit = 0; unit < given.size(); ++unit) {
    fetch(unit, unit + 1 < given.size() ? std::optional(unit + 1) : std::nullopt);
  }
  for (std::size_t unit = given.size(); unit-- > 1;) fetch(unit, unit - 1);
  fetch(3, 1);  // not what was announced
  fetch(3, std::nullopt);
  fetch(2, 3);
}

TEST_F(WeightShardsTest, ARankKeepsItsShareAndTwoUnits) {
  const auto given = units();
  std::int64_t all = 0, largest = 0;
  for (const auto& unit : given) {
    all += bytes_of(unit);
    largest = std::max(largest, bytes_of(unit));
  }
  WeightShards shards(world_->split(0, world_->rank()));
  for (const auto& unit : given) shards.adopt(unit);
  // Weights begin at multiples of 64 elements, of four bytes.
  const std::int64_t padding = 11 * 64 * 4;
  EXPECT_LE(shards.share_bytes(), (all + padding) / world_->size() + 4 * static_cast<std::int64_t>(given.size()));
  EXPECT_GE(shards.share_bytes() * world_->size(), all);
  for (std::size_t unit = 0; unit + 1 < given.size(); ++unit) {
    shards.fetch(unit, unit + 1);
    const std::int64_t two = bytes_of(given[unit]) + bytes_of(given[unit + 1]);
    EXPECT_GE(shards.whole_bytes(), two) << "the next is not on its way";
    EXPECT_LE(shards.whole_bytes(), two + padding);
  }
}

// As in the split layout: all but the last rank use the weights, then all, and again the first.
TEST_F(WeightShardsTest, SomeOfTheRanksShareAndThenAll) {
  if (world_->size() == 1) GTEST_SKIP() << "needs two kinds of ranks";
  const bool uses = world_->rank() + 1 < world_->size();
  const auto expected = units(), given = units();
  auto some = world_->split(uses ? 0 : 1, world_->rank());
  if (!uses) some = nullptr;
  WeightShards shards(world_->split(0, world_->rank()), std::move(some));
  for (const auto& unit : given) shards.adopt(unit);
  std::int64_t all = 0;
  for (const auto& unit : given) all += bytes_of(unit);
  const std::int64_t padding = 11 * 64 * 4 + 4 * static_cast<std::int64_t>(given.size());
  const auto expect_whole = [&](int sharing) {
    for (std::size_t unit = 0; unit < given.size(); ++unit) {
      shards.fetch(unit, unit + 1 < given.size() ? std::optional(unit + 1) : std::nullopt);
      for (std::size_t i = 0; i < expected[unit].size(); ++i) {
        EXPECT_TRUE(at::equal(given[unit][i], expected[unit][i])) << "unit " << unit << ", weight " << i;
      }
    }
    EXPECT_LE(shards.share_bytes(), (all + padding) / sharing + padding);
    EXPECT_GE(shards.share_bytes() * sharing, all);
  };
  for (int turn = 0; turn < 2; ++turn) {
    shards.divide(Sharers::some);
    if (uses) {
      expect_whole(world_->size() - 1);
    } else {
      EXPECT_THROW(shards.fetch(0, std::nullopt), std::logic_error);
      EXPECT_LE(shards.share_bytes(), (all + padding) / world_->size() + padding);
    }
    shards.divide(Sharers::all);
    EXPECT_EQ(shards.whole_bytes(), 0);
    expect_whole(world_->size());
  }
  const at::Tensor trained = torch::randn({5}).requires_grad_();
  EXPECT_THROW(shards.adopt({}, {trained}), std::logic_error);
}

TEST_F(WeightShardsTest, AForgottenGatheringIsNoticed) {
  if (world_->size() == 1) GTEST_SKIP() << "nothing is gathered from others on one rank";
  const auto expected = units(), given = units();
  auto wrapped = std::make_unique<Forgetful>(*world_);
  Forgetful& group = *wrapped;
  WeightShards shards(std::move(wrapped));
  for (const auto& unit : given) shards.adopt(unit);
  group.forget = true;
  shards.fetch(0, std::nullopt);
  EXPECT_FALSE(at::equal(given[0][0], expected[0][0]));
}

// What is trained lies in parts that their ranks update; the others see it when they next fetch the unit.
TEST_F(WeightShardsTest, TrainedTensorsAreUpdatedByTheirOwners) {
  WeightShards shards(world_->split(0, world_->rank()));
  std::vector<at::Tensor> trained, expected;
  for (int unit = 0; unit < 3; ++unit) {
    torch::manual_seed(20 + unit);
    const at::Tensor frozen = torch::randn({7, 3}).to(at::kBFloat16);
    const std::vector<at::Tensor> two = {torch::randn({13, 9}).requires_grad_(), torch::randn({5}).requires_grad_()};
    for (const at::Tensor& tensor : two) expected.push_back(tensor.detach().clone());
    shards.adopt({frozen}, two);
    trained.insert(trained.end(), two.begin(), two.end());
    EXPECT_FALSE(shards.part_of(frozen).has_value());
  }
  std::int64_t own = 0;
  for (std::size_t i = 0; i < trained.size(); ++i) {
    const UnitPart part = shards.part_of(trained[i]).value();
    EXPECT_EQ(part.unit, i / 2);
    const ElementRange range = part.owned.range;
    own += range.size();
    EXPECT_TRUE(at::equal(part.owned.value.view({-1}), expected[i].view({-1}).slice(0, range.begin, range.end)));
  }
  EXPECT_LE(own, 3 * (192 + 64) / world_->size());  // padding of 64 elements counted
  shards.fetch(1, 2);
  for (const at::Tensor& tensor : trained) shards.part_of(tensor)->owned.value.mul_(2);
  shards.changed();
  EXPECT_EQ(shards.whole_bytes(), 0);
  for (std::size_t i = 0; i < trained.size(); ++i) {
    shards.fetch(i / 2, std::nullopt);
    EXPECT_TRUE(at::equal(trained[i].detach(), expected[i] * 2)) << i;
  }
}

TEST_F(WeightShardsTest, RefusesFaults) {
  WeightShards shards(world_->split(0, world_->rank()));
  EXPECT_THROW(shards.adopt({}, {}), std::logic_error);
  EXPECT_THROW(shards.adopt({at::zeros({2}), at::zeros({2}, at::kDouble)}), std::logic_error);
  EXPECT_THROW(shards.fetch(0, std::nullopt), std::out_of_range);
}

}  // namespace
}  // namespace medfuse::parallel
