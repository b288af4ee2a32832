#include "src/plan/reducer.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "src/parallel/bucket_size.h"

namespace medfuse::plan {

Reducer::Reducer(Rehearsal& rehearsal, const Job& job, Group group, WeightUnits& units, std::vector<Parameter> parameters)
    : r_(rehearsal),
      units_(units),
      group_(group),
      ranks_(rehearsal.ranks(group)),
      zero_(ranks_ > 1 ? job.options.parallel.zero : 0),
      state_(job.state_bytes()),
      wire_(job.wire_bytes()),
      bucket_mib_(job.options.parallel.bucket_mib),
      state_travels_(job.wire_bytes() == job.state_bytes()),
      parameters_(std::move(parameters)),
      bucket_of_(parameters_.size()),
      gradients_(parameters_.size()) {
  std::int64_t loose = 0;  // elements that are no part of a unit
  for (const Parameter& parameter : parameters_) loose += parameter.unit ? 0 : parameter.elements;
  const double most = parallel::bucket_bytes(bucket_mib_, static_cast<double>(loose * wire_));
  for (std::size_t number = parameters_.size(); number-- > 0;) {
    const auto& [elements, unit] = parameters_[number];
    const auto fits = [&, size = elements, of = unit](const Bucket& bucket) {
      if (of || bucket.unit) return of == bucket.unit;
      return static_cast<double>((bucket.elements + size) * wire_) <= most;
    };
    if (buckets_.empty() || !fits(buckets_.back())) buckets_.push_back({.unit = unit});
    buckets_.back().parameters.push_back(number);
    buckets_.back().elements += unit ? padded(elements) : elements;
    bucket_of_[number] = buckets_.size() - 1;
  }
  for (Bucket& bucket : buckets_) {
    bucket.block = zero_ == 0 ? bucket.elements : std::max<std::int64_t>(1, (bucket.elements + ranks_ - 1) / ranks_);
    owned_ += std::min(bucket.block, bucket.elements);
  }
  moments_ = r_.hold(Item::moments, 2 * owned_ * state_);
  reduced_.resize(buckets_.size());
}

void Reducer::prepare(bool last) {
  if (ranks_ == 1 || (zero_ < 2 && !last)) return;
  if (armed_) collect();
  armed_ = true;
  next_ = 0;
  missing_.clear();
  for (const Bucket& bucket : buckets_) missing_.push_back(bucket.parameters.size());
}

void Reducer::arrive(std::size_t parameter) {
  if (!gradients_.at(parameter)) gradients_[parameter] = r_.hold(Item::gradients, parameters_[parameter].elements * state_);
  if (!armed_) return;
  --missing_[bucket_of_[parameter]];
  while (next_ < buckets_.size() && missing_[next_] == 0) launch(buckets_[next_++]);
}

void Reducer::launch(const Bucket& bucket) {
  // Of a bucket that has travelled only this rank's share is still wanted.
  for (Sum& before : sums_) {
    if (zero_ > 0 && before.ends <= r_.tally().seconds) before.flat.reset();
  }
  Sum sum;
  const std::int64_t elements = zero_ == 0 ? bucket.elements : bucket.block * ranks_;
  sum.flat = r_.make(Item::buckets, elements, wire_);
  for (const std::size_t parameter : bucket.parameters) gradients_[parameter].reset();
  if (zero_ > 0) sum.shard = r_.hold(Item::gradients, bucket.block * wire_);
  const auto bytes = static_cast<double>(elements * wire_);
  sum.staged = r_.staging(Item::buckets, bytes, group_);
  sum.ends = r_.start(group_, Flow::gradients, zero_ == 0 ? Collective::all_reduce : Collective::reduce_scatter, bytes);
  sums_.push_back(std::move(sum));
}

void Reducer::collect() {
  if (next_ != buckets_.size()) throw std::logic_error("Reducer: a gradient did not arrive");
  armed_ = false;
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    Sum sum = std::move(sums_[i]);
    r_.wait(Flow::gradients, sum.ends);
    sum.staged.reset();
    if (zero_ > 0) sum.flat.reset();
    Held result = zero_ > 0 ? sum.shard : sum.flat;
    if (!state_travels_ && zero_ != 1) {
      result = r_.make(Item::gradients, zero_ > 0 ? buckets_[i].block : buckets_[i].elements, state_);
    }
    if (!reduced_[i]) reduced_[i] = std::move(result);
  }
  sums_.clear();
}

void Reducer::reduce() {
  if (armed_) collect();
  // The norm goes through the gradients in pieces of float64.
  constexpr std::int64_t piece = 1 << 20;
  std::int64_t largest = 0;
  for (const Parameter& parameter : parameters_) largest = std::max(largest, parameter.elements);
  {
    const Held squares[] = {r_.make(Item::working, std::min(piece, largest), 8),
                            r_.make(Item::working, std::min(piece, largest), 8)};
  }
  r_.among(group_, Flow::statistics, Collective::all_gather, static_cast<double>(8 * ranks_));
}

void Reducer::apply() {
  r_.touch(7 * static_cast<double>(owned_ * state_));
  if (zero_ > 0) share_parameters();
  for (Held& gradient : gradients_) gradient.reset();
  for (Held& sum : reduced_) sum.reset();
}

std::vector<Reducer::Message> Reducer::messages() const {
  std::vector<Message> messages;
  for (const Bucket& bucket : buckets_) {
    if (bucket.unit) continue;
    const auto fits = [&](const Message& message) {
      return static_cast<double>((message.elements + bucket.block) * ranks_ * state_) <= bucket_mib_ * 1024 * 1024;
    };
    if (messages.empty() || !fits(messages.back())) messages.emplace_back();
    Message& message = messages.back();
    message.largest = std::max(message.largest, bucket.block * ranks_);
    ++message.buckets;
    message.elements += bucket.block;
  }
  return messages;
}

void Reducer::share_parameters() {
  struct Gather {
    Message message;
    Held own, all;
    double ends = 0;
  };
  const auto unpack = [&](const Gather& gather) {
    if (!gather.all) return;
    r_.wait(Flow::parameters, gather.ends);
    // The ranks' parts of one of several buckets are put together first.
    if (gather.message.buckets > 1) const Held flat = r_.make(Item::buckets, gather.message.largest, state_);
  };
  Gather before;
  for (const Message& message : messages()) {
    Gather next{message};
    next.own = r_.make(Item::buckets, message.elements, state_);
    next.all = r_.make(Item::buckets, message.elements * ranks_, state_);
    next.ends = r_.start(group_, Flow::parameters, Collective::all_gather,
                         static_cast<double>(message.elements * ranks_ * state_));
    unpack(before);
    before = std::move(next);
  }
  unpack(before);
  if (std::any_of(buckets_.begin(), buckets_.end(), [](const Bucket& b) { return b.unit.has_value(); })) units_.changed();
}

}  // namespace medfuse::plan
