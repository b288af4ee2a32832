#include "src/parallel/sharded_reducer.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>

#include "src/parallel/flat_buckets.h"
#include "src/parallel/gradient_queue.h"
#include "src/parallel/weight_shards.h"

namespace medfuse::parallel {

namespace {

class ShardedReducer : public GradientReducer {
 public:
  ShardedReducer(const std::vector<at::Tensor>& parameters, const std::vector<std::optional<UnitPart>>& unit_parts,
                 std::vector<FlatBucket> buckets, cluster::Communicator& communicator, Sharded what,
                 const ReducerOptions& options)
      : communicator_(communicator),
        what_(what),
        shards_(options.shards),
        buckets_(std::move(buckets)),
        messages_(make_messages(options.bucket_mib)),
        collected_(buckets_.size()),
        owned_(parameters.size()),
        gradients_(parameters.size()),
        queue_(buckets_, [this](std::size_t bucket) { launch(bucket); }) {
    for (const FlatBucket& bucket : buckets_) {
      const std::int64_t begin = communicator_.rank() * block(bucket);
      for (const FlatBucket::Part& part : bucket.parts) {
        const std::int64_t n = part.parameter.numel();
        const ElementRange range = {std::clamp<std::int64_t>(begin - part.begin, 0, n),
                                    std::clamp<std::int64_t>(begin + block(bucket) - part.begin, 0, n)};
        owned_[part.number] = bucket.unit ? unit_parts[part.number]->owned : live_part(part.parameter, range);
        const ElementRange kept = owned_[part.number].range;
        if (kept.begin != range.begin || kept.end != range.end) {
          throw std::logic_error("sharded reducer: a unit is divided among other ranks than its gradients are");
        }
      }
    }
  }

  void prepare(bool last) override {
    if (what_ == Sharded::states && !last) return;
    if (under_way_) collect();
    queue_.prepare();
    under_way_ = true;
  }

  void finish() override {
    collect();
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      const at::Tensor shard = std::exchange(collected_[i], {});
      for (const FlatBucket::Part& part : buckets_[i].parts) {
        const at::Tensor own = own_part(buckets_[i], part, shard);
        const bool whole = own.numel() == part.parameter.numel();
        gradients_[part.number] = whole ? own.view(part.parameter.sizes()) : own;
      }
    }
  }

  std::vector<OwnedPart> owned() const override { return owned_; }
  std::vector<at::Tensor> gradients() const override { return gradients_; }

  double sum_over_owners(double value) override {
    const auto options = at::TensorOptions(communicator_.device()).dtype(at::kDouble);
    const at::Tensor all = at::empty({communicator_.size()}, options);
    communicator_.all_gather(all, at::full({1}, value, options))->wait();
    const at::Tensor host = all.cpu();  // added in rank order: the same bits on every rank, whatever adds on the wire
    const double* const values = host.const_data_ptr<double>();
    return std::accumulate(values, values + host.numel(), 0.0);
  }

  void share_parameters() override {
    const at::NoGradGuard no_grad;
    // One message travels while the one before it is unpacked; more would take memory for all parameters again.
    std::optional<Gather> before;
    for (const Message& message : messages_) {
      Gather next = gather(message);
      if (before) unpack(*before);
      before.emplace(std::move(next));
    }
    if (before) unpack(*before);
    const auto of_unit = [](const FlatBucket& bucket) { return bucket.unit.has_value(); };
    if (std::any_of(buckets_.begin(), buckets_.end(), of_unit)) shards_->changed();
  }

  void drop_gradients() override {
    for (at::Tensor& gradient : gradients_) gradient.reset();
  }

 private:
  struct Sum {
    at::Tensor shard;
    std::unique_ptr<cluster::Work> work;
  };
  /// Neighbouring buckets whose parameters travel together: no computation goes on beside them that would want parts.
  struct Message {
    std::vector<const FlatBucket*> buckets;
    std::int64_t elements = 0;  // of each rank
  };
  struct Gather {
    const Message* message;
    at::Tensor all;  // [ranks, elements]
    std::unique_ptr<cluster::Work> work;
  };

  /// Messages of at most `mib` MiB, or of one bucket.
  std::vector<Message> make_messages(double mib) const {
    std::vector<Message> messages;
    const auto type = [](const FlatBucket& bucket) { return bucket.parts.front().parameter.scalar_type(); };
    for (const FlatBucket& bucket : buckets_) {
      if (bucket.unit) continue;
      const auto fits = [&](const Message& message) {
        const FlatBucket& other = *message.buckets.front();
        const std::int64_t bytes = (message.elements + block(bucket)) * communicator_.size() *
                                   static_cast<std::int64_t>(c10::elementSize(type(bucket)));
        return type(other) == type(bucket) && other.wire.device() == bucket.wire.device() &&
               static_cast<double>(bytes) <= mib * 1024 * 1024;
      };
      if (messages.empty() || !fits(messages.back())) messages.emplace_back();
      messages.back().buckets.push_back(&bucket);
      messages.back().elements += block(bucket);
    }
    return messages;
  }

  /// Waits for the sums of one pass, and adds them to those of earlier passes in the parameters' type.
  void collect() {
    queue_.finish();
    // A local list: should one fail, the others go with the exception and are not waited for.
    std::vector<Sum> sums = std::exchange(sums_, {});
    under_way_ = false;
    const at::NoGradGuard no_grad;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      sums[i].work->wait();
      at::Tensor& collected = collected_[i];
      const at::Tensor shard = std::exchange(sums[i], {}).shard;
      if (collected.defined()) collected.add_(shard);
      else collected = what_ == Sharded::states ? shard : shard.to(buckets_[i].parts.front().parameter.scalar_type());
    }
  }

  /// Elements of a bucket for each rank; the last rank's may reach over the end, which is filled with zeros.
  std::int64_t block(const FlatBucket& bucket) const {
    return std::max<std::int64_t>(1, (bucket.elements + communicator_.size() - 1) / communicator_.size());
  }

  static OwnedPart live_part(const at::Tensor& parameter, const ElementRange& range) {
    const at::Tensor all = parameter.detach();
    return {range, range.size() == all.numel() ? all : all.view({-1}).narrow(0, range.begin, range.size())};
  }

  /// What `shard`, this rank's block of the bucket, holds of a parameter: flat, maybe empty.
  at::Tensor own_part(const FlatBucket& bucket, const FlatBucket::Part& part, const at::Tensor& shard) const {
    const ElementRange range = owned_[part.number].range;
    if (range.size() == 0) return shard.narrow(0, 0, 0);
    return shard.narrow(0, part.begin + range.begin - communicator_.rank() * block(bucket), range.size());
  }

  void launch(std::size_t number) {
    const FlatBucket& bucket = buckets_[number];
    const at::Tensor flat = take_gradients(bucket, block(bucket) * communicator_.size());
    at::Tensor shard = at::empty({block(bucket)}, bucket.wire);
    auto work = communicator_.reduce_scatter(shard, flat, cluster::Reduction::sum);
    sums_.push_back({std::move(shard), std::move(work)});
  }

  Gather gather(const Message& message) {
    const FlatBucket& first = *message.buckets.front();
    const auto options = first.wire.dtype(first.parts.front().parameter.scalar_type());
    const at::Tensor own = at::zeros({message.elements}, options);
    std::int64_t place = 0;
    for (const FlatBucket* const bucket : message.buckets) {
      const at::Tensor shard = own.narrow(0, place, block(*bucket));
      for (const FlatBucket::Part& part : bucket->parts) {
        own_part(*bucket, part, shard).copy_(owned_[part.number].value.view({-1}));
      }
      place += block(*bucket);
    }
    at::Tensor all = at::empty({communicator_.size(), message.elements}, options);
    auto work = communicator_.all_gather(all, own);
    return {&message, std::move(all), std::move(work)};
  }

  void unpack(const Gather& gather) const {
    gather.work->wait();
    std::int64_t place = 0;
    for (const FlatBucket* const bucket : gather.message->buckets) {
      const at::Tensor flat = gather.all.narrow(1, place, block(*bucket)).reshape({-1});
      for (const FlatBucket::Part& part : bucket->parts) {
        part.parameter.detach().view({-1}).copy_(flat.narrow(0, part.begin, part.parameter.numel()));
      }
      place += block(*bucket);
    }
  }

  cluster::Communicator& communicator_;
  Sharded what_;
  WeightShards* shards_;
  std::vector<FlatBucket> buckets_;
  std::vector<Message> messages_;      // that parameters travel in
  std::vector<at::Tensor> collected_;  // this rank's block of each bucket, summed over the passes so far
  bool under_way_ = false;             // a pass is prepared, its sums not collected
  std::vector<OwnedPart> owned_;       // of each parameter
  std::vector<at::Tensor> gradients_;  // of each parameter's owned elements, between finish() and drop_gradients()
  std::vector<Sum> sums_;              // under way, by bucket
  GradientQueue queue_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_sharded_reducer(std::vector<at::Tensor> parameters,
                                                      cluster::Communicator& communicator, Sharded what,
                                                      const ReducerOptions& options) {
  if (communicator.size() == 1) return make_bucketed_reducer(std::move(parameters), communicator, options);
  std::vector<std::optional<UnitPart>> parts;
  for (const at::Tensor& parameter : parameters) {
    parts.push_back(options.shards == nullptr ? std::nullopt : options.shards->part_of(parameter));
    if (parameter.defined() && !parameter.is_contiguous()) {
      throw std::logic_error("sharded reducer: a parameter is not contiguous");
    }
  }
  auto buckets = flat_buckets(parameters, options.bucket_mib, options.dtype, parts);
  return std::make_unique<ShardedReducer>(parameters, parts, std::move(buckets), communicator, what, options);
}

}  // namespace medfuse::parallel
