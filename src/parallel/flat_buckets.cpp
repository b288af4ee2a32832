#include "src/parallel/flat_buckets.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>

#include "src/parallel/bucket_size.h"

namespace medfuse::parallel {

namespace {

/// Whether `parameter`, a part of `unit` or of none, may still go into `bucket`.
bool fits(const FlatBucket& bucket, const at::Tensor& parameter, std::optional<std::size_t> unit,
          const at::TensorOptions& wire, double most) {
  if (unit != bucket.unit) return false;
  if (unit) return true;
  const std::int64_t bytes =
      (bucket.elements + parameter.numel()) * static_cast<std::int64_t>(wire.dtype().itemsize());
  return bucket.parts.front().parameter.scalar_type() == parameter.scalar_type() &&
         bucket.wire.device() == wire.device() && static_cast<double>(bytes) <= most;
}

std::optional<UnitPart> part_of(const std::vector<std::optional<UnitPart>>& parts, std::size_t number) {
  return parts.empty() ? std::nullopt : parts.at(number);
}

/// Bytes on the wire of what is no part of a unit.
double loose_bytes(const std::vector<at::Tensor>& parameters, std::optional<at::ScalarType> wire,
                   const std::vector<std::optional<UnitPart>>& parts) {
  double bytes = 0;
  for (std::size_t number = 0; number < parameters.size(); ++number) {
    if (!parameters[number].defined()) throw std::logic_error("gradient buckets: undefined parameter");
    if (part_of(parts, number)) continue;
    const std::size_t each = c10::elementSize(wire.value_or(parameters[number].scalar_type()));
    bytes += static_cast<double>(each) * static_cast<double>(parameters[number].numel());
  }
  return bytes;
}

}  // namespace

std::vector<FlatBucket> flat_buckets(const std::vector<at::Tensor>& parameters, double mib,
                                     std::optional<at::ScalarType> wire,
                                     const std::vector<std::optional<UnitPart>>& parts) {
  if (parameters.empty()) throw std::logic_error("gradient buckets: no parameters");
  if (!(mib > 0)) throw std::logic_error("gradient buckets: their size must be positive");
  const double most = bucket_bytes(mib, loose_bytes(parameters, wire, parts));
  std::vector<FlatBucket> buckets;
  for (std::size_t number = parameters.size(); number-- > 0;) {
    const at::Tensor& parameter = parameters[number];
    const auto options = at::TensorOptions(parameter.device()).dtype(wire.value_or(parameter.scalar_type()));
    const std::optional<UnitPart> part = part_of(parts, number);
    const std::optional<std::size_t> unit = part ? std::optional(part->unit) : std::nullopt;
    if (buckets.empty() || !fits(buckets.back(), parameter, unit, options, most)) {
      buckets.push_back({options, {}, part ? part->length : 0, unit});
    }
    FlatBucket& bucket = buckets.back();
    bucket.parts.push_back({number, parameter, part ? part->begin : bucket.elements});
    if (!unit) bucket.elements += parameter.numel();
  }
  return buckets;
}

at::Tensor take_gradients(const FlatBucket& bucket, std::int64_t length) {
  const at::NoGradGuard no_grad;
  at::Tensor flat = bucket.unit ? at::zeros({length}, bucket.wire) : at::empty({length}, bucket.wire);
  for (const FlatBucket::Part& part : bucket.parts) {
    const at::Tensor place = flat.narrow(0, part.begin, part.parameter.numel());
    at::Tensor& gradient = part.parameter.mutable_grad();
    if (!gradient.defined()) {
      place.zero_();
      continue;
    }
    if (gradient.layout() != at::kStrided) throw std::logic_error("gradient buckets: a gradient is not dense");
    place.view(gradient.sizes()).copy_(gradient);
    gradient.reset();
  }
  flat.narrow(0, bucket.elements, length - bucket.elements).zero_();
  return flat;
}

void give_gradients(const FlatBucket& bucket, const at::Tensor& flat) {
  const at::NoGradGuard no_grad;
  for (const FlatBucket::Part& part : bucket.parts) {
    const at::Tensor sum = flat.narrow(0, part.begin, part.parameter.numel()).view(part.parameter.sizes());
    part.parameter.mutable_grad() = sum.to(part.parameter.scalar_type());
  }
}

}  // namespace medfuse::parallel
