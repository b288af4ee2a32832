// Gradients on their way to the optimiser (src/parallel, src/train/updater.cpp): accumulated, put into buckets, summed over
// the ranks that divide the samples while the backward pass goes on, and used for this rank's share of the parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/plan/rehearsal.h"
#include "src/plan/weight_units.h"

namespace medfuse::plan {

struct Parameter {
  std::int64_t elements = 0;
  std::optional<std::int64_t> unit = {};  ///< of the shared weights that it is a part of
};

class Reducer {
 public:
  /// `group`: those that divide the samples. `parameters` in the order of the forward pass. `units` must outlive it.
  Reducer(Rehearsal& rehearsal, const Job& job, Group group, WeightUnits& units, std::vector<Parameter> parameters);

  void prepare(bool last);
  /// The gradient of a parameter is there, from the pass that is under way.
  void arrive(std::size_t parameter);
  /// Behind the last pass: the sums, and the norm.
  void reduce();
  /// AdamW, and the parameters from their owners.
  void apply();

  /// Elements that this rank keeps moments of.
  std::int64_t owned() const { return owned_; }

 private:
  struct Bucket {
    std::vector<std::size_t> parameters;
    std::int64_t elements = 0;
    std::int64_t block = 0;  // of each rank
    std::optional<std::int64_t> unit;
  };
  /// Buckets whose parameters travel together: how many of them, and elements of each rank.
  struct Message {
    std::int64_t largest = 0;  // of its buckets, all ranks' elements
    std::int64_t buckets = 0;
    std::int64_t elements = 0;
  };
  struct Sum {
    Held flat, shard, staged;
    double ends = 0;
  };
  void launch(const Bucket& bucket);
  void collect();
  std::vector<Message> messages() const;
  void share_parameters();

  Rehearsal& r_;
  WeightUnits& units_;
  Group group_;
  std::int64_t ranks_, zero_, state_, wire_;
  double bucket_mib_;
  bool state_travels_;                   // gradients travel in the type of the state
  std::vector<Parameter> parameters_;
  std::vector<Bucket> buckets_;
  std::vector<std::size_t> bucket_of_;   // of each parameter
  std::int64_t owned_ = 0;
  Held moments_;
  std::vector<Held> gradients_;          // of each parameter
  std::vector<Held> reduced_;            // of each bucket
  std::vector<std::size_t> missing_;     // parameters of each bucket
  std::size_t next_ = 0;                 // bucket to launch
  bool armed_ = false;
  std::vector<Sum> sums_;
};

}  // namespace medfuse::plan
