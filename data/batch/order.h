// Which samples a global step takes: a pure function of (sample ids, seed, stage), never of rank or world size.
#pragma once

#include <cstdint>
#include <vector>

namespace medfuse::data {

/// One draw from the endless stream of samples.
struct Draw {
  std::int64_t index = 0;  ///< of the sample, in the list of ids that the stream was made from
  std::int64_t epoch = 0;  ///< how often the whole list had been drawn before
  friend bool operator==(const Draw&, const Draw&) = default;
};

/// Endless stream over N samples: position p is the (p mod N)-th sample of epoch p / N. An epoch's order sorts the ids
/// by key({seed, stage, epoch, id}), ties by id, so it does not depend on the order in which the ids are listed. Any
/// position can be asked for directly, which is all that resuming needs.
class SampleStream {
 public:
  /// `ids` are distinct and not empty, else std::logic_error.
  SampleStream(std::vector<std::int64_t> ids, std::uint64_t seed, std::uint64_t stage);

  std::int64_t size() const { return static_cast<std::int64_t>(ids_.size()); }
  std::int64_t id(const Draw& draw) const { return ids_[static_cast<std::size_t>(draw.index)]; }

  /// Not thread-safe: keeps the order of the epoch asked for last.
  Draw at(std::int64_t position);
  /// The draws of global step `step`: positions [step * batch, (step + 1) * batch).
  std::vector<Draw> step(std::int64_t step, std::int64_t batch);

 private:
  void order(std::int64_t epoch);

  std::vector<std::int64_t> ids_;
  std::uint64_t seed_;
  std::uint64_t stage_;
  std::int64_t ordered_epoch_ = -1;
  std::vector<std::int64_t> order_;  // [N] indices into ids_, in the order of ordered_epoch_
};

}  // namespace medfuse::data
