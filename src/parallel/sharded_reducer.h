// ZeRO-1 to 3 (Rajbhandari et al., arXiv 1910.02054): each rank gets the sums of its share of the gradients, updates those
// elements of the parameters, so that it keeps optimiser state for them only, and hands them to the others: all at once,
// or, where parameters are parts of units (ReducerOptions::shards), when the units are next fetched.
#pragma once

#include <memory>
#include <vector>

#include "src/parallel/gradient_reducer.h"

namespace medfuse::parallel {

/// What a rank keeps its share of between micro-batches: optimiser states only (ZeRO-1: gradients are accumulated whole
/// and travel once a step), or the accumulated gradients too (ZeRO-2: they travel after every micro-batch).
enum class Sharded { states, gradients };

/// Buckets and their order as of make_bucketed_reducer(). Rank r of n owns the r-th of n equal blocks of each bucket,
/// at most one run of each parameter's elements; which, follows from the list, the bucket size and n alone. The sums are
/// those of make_bucketed_reducer(), to the bit over MPI if a step is one micro-batch or only states are sharded.
/// Parameters are contiguous. On one rank there is nothing to share: then it is a bucketed reducer. Units have a bucket of
/// their own each, so that what a rank updates is what it keeps. Throws std::logic_error as make_bucketed_reducer() does,
/// and for units that are divided among another number of ranks.
std::unique_ptr<GradientReducer> make_sharded_reducer(std::vector<at::Tensor> parameters,
                                                      cluster::Communicator& communicator, Sharded what,
                                                      const ReducerOptions& options = {});

}  // namespace medfuse::parallel
