// Flat buckets: which parameters' gradients travel together, in which order, and where each lies in its bucket.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "src/parallel/element_range.h"

namespace medfuse::parallel {

/// Parameters whose gradients travel as one flat tensor.
struct FlatBucket {
  struct Part {
    std::size_t number;      ///< of the parameter in the list
    at::Tensor parameter;
    std::int64_t begin = 0;  ///< element of the bucket where it begins
  };
  at::TensorOptions wire;       ///< type on the wire, device
  std::vector<Part> parts;      ///< all of one type
  std::int64_t elements = 0;
  std::optional<std::size_t> unit;  ///< laid out as this unit is, gaps included; nothing: the parts lie end to end
};

/// Cuts the list into buckets of at most `mib` MiB on the wire, less where that is much of all (bucket_size.h), or of one
/// parameter that is larger. They follow the list from its end: where that is in the order of the forward pass, the
/// backward pass completes the first bucket first. The cut depends on order, types and sizes only, so it is the same on
/// every rank, in every step and after a restart, whatever gradients there are. `wire`: element type on the wire; none:
/// each parameter's own.
/// `parts`, empty or one for each parameter: those that are parts of a unit make a bucket of that unit, whatever its size.
/// Throws std::logic_error for an empty list, an undefined parameter or a size that is not positive.
std::vector<FlatBucket> flat_buckets(const std::vector<at::Tensor>& parameters, double mib,
                                     std::optional<at::ScalarType> wire,
                                     const std::vector<std::optional<UnitPart>>& parts = {});

/// Moves the gradients of a bucket into one flat tensor [length], of the wire's type: parameters without one, gaps and
/// the elements behind the last count as zero. The parameters are left without gradients, so that their memory is free
/// before the next bucket's is taken. Throws std::logic_error for a sparse gradient.
at::Tensor take_gradients(const FlatBucket& bucket, std::int64_t length);

/// Gives each parameter its gradient out of the flat tensor: a view of it where the types agree, else a copy.
void give_gradients(const FlatBucket& bucket, const at::Tensor& flat);

}  // namespace medfuse::parallel
