#include "src/train/ranks.h"

#include <torch/types.h>

#include <algorithm>
#include <string>

#include "src/parallel/weight_shards.h"

namespace medfuse::train {

std::vector<double> sum_over_ranks(cluster::Communicator& host, const std::vector<double>& values) {
  at::Tensor sums = torch::tensor(values, torch::kFloat64);
  host.all_reduce(sums, cluster::Reduction::sum)->wait();
  return {sums.data_ptr<double>(), sums.data_ptr<double>() + sums.numel()};
}

model::TensorParallelPtr tensor_parallel(cluster::Communicator& group, bool sequence) {
  if (group.size() == 1) return model::no_tensor_parallel();
  model::TensorParallel ranks;
  ranks.rank = group.rank();
  ranks.size = group.size();
  ranks.sum = [&group](const at::Tensor& x) { group.all_reduce(x, cluster::Reduction::sum)->wait(); };
  ranks.sequence = sequence;
  ranks.gather = [&group](const at::Tensor& own_NF) {
    const at::Tensor all = at::empty({group.size() * own_NF.size(0), own_NF.size(1)}, own_NF.options());
    group.all_gather(all, own_NF)->wait();
    return all;
  };
  ranks.sum_scatter = [&group](const at::Tensor& partial_NF) {
    const at::Tensor own = at::empty({partial_NF.size(0) / group.size(), partial_NF.size(1)}, partial_NF.options());
    group.reduce_scatter(own, partial_NF, cluster::Reduction::sum)->wait();
    return own;
  };
  return std::make_shared<const model::TensorParallel>(std::move(ranks));
}

std::shared_ptr<parallel::WeightShards> make_shards(const Ranks& ranks) {
  if (ranks.device.size() == 1) return nullptr;
  auto all = ranks.device.split(0, ranks.device.rank());
  if (!ranks.split) return std::make_shared<parallel::WeightShards>(std::move(all));
  auto some = ranks.device.split(ranks.trains_text() ? 0 : 1, ranks.device.rank());
  if (!ranks.trains_text()) some = nullptr;
  return std::make_shared<parallel::WeightShards>(std::move(all), std::move(some));
}

model::WeightStorePtr weight_store(const Ranks& ranks) {
  if (!ranks.shards) return nullptr;
  return std::make_shared<const model::WeightStore>(model::WeightStore{
      [shards = ranks.shards, all = !ranks.split](const std::vector<at::Tensor>& frozen,
                                                  const std::vector<at::Tensor>& trained) {
        shards->adopt(frozen, all ? trained : std::vector<at::Tensor>{});
      },
      [shards = ranks.shards](std::size_t unit, std::optional<std::size_t> next) { shards->fetch(unit, next); }});
}

checkpoint::Team team_of(cluster::Communicator& host) {
  checkpoint::Team team;
  team.rank = host.rank();
  team.size = host.size();
  team.all_gather = [&host](const std::string& text) {
    const at::Tensor length = torch::tensor({static_cast<std::int64_t>(text.size())}, torch::kInt64);
    const at::Tensor lengths = torch::zeros({host.size()}, torch::kInt64);
    host.all_gather(lengths, length)->wait();
    const std::int64_t longest = std::max<std::int64_t>(1, lengths.max().item<std::int64_t>());
    const at::Tensor mine = torch::zeros({longest}, torch::kUInt8);
    std::copy(text.begin(), text.end(), mine.data_ptr<std::uint8_t>());
    const at::Tensor all = torch::zeros({host.size() * longest}, torch::kUInt8);
    host.all_gather(all, mine)->wait();
    std::vector<std::string> texts;
    for (int rank = 0; rank < host.size(); ++rank) {
      const auto* begin = all.data_ptr<std::uint8_t>() + rank * longest;
      texts.emplace_back(begin, begin + lengths[rank].item<std::int64_t>());
    }
    return texts;
  };
  return team;
}

}  // namespace medfuse::train
