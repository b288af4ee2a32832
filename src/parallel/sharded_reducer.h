// ZeRO-1 (Rajbhandari et al., arXiv 1910.02054): each rank gets the sums of its share of the gradients, updates those
// elements of the parameters, so that it keeps optimiser state for them only, and hands them to the others.
#pragma once

#include <memory>
#include <vector>

#include "src/parallel/gradient_reducer.h"

namespace medfuse::parallel {

/// Buckets and their order as of make_bucketed_reducer(). Rank r of n owns the r-th of n equal blocks of each bucket,
/// at most one run of each parameter's elements; which, follows from the list, the bucket size and n alone. The sums are
/// those of make_bucketed_reducer(), to the bit over MPI. Parameters are contiguous. On one rank there is nothing to
/// share: then it is a bucketed reducer. Throws std::logic_error as make_bucketed_reducer() does.
std::unique_ptr<GradientReducer> make_sharded_reducer(std::vector<at::Tensor> parameters,
                                                      cluster::Communicator& communicator,
                                                      const ReducerOptions& options = {});

}  // namespace medfuse::parallel
