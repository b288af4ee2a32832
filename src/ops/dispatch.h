// What the kernels take, and the type that sums and functions are computed in.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/ScalarType.h>

#include <stdexcept>

namespace medfuse::ops {

/// The wider of float32 and `type`.
inline c10::ScalarType wide_type(c10::ScalarType type) {
  return type == c10::ScalarType::Double ? c10::ScalarType::Double : c10::ScalarType::Float;
}

inline bool is_kernel_type(c10::ScalarType type) {
  return type == c10::ScalarType::Float || type == c10::ScalarType::Double || type == c10::ScalarType::BFloat16;
}

/// Whether kernels take x as it lies.
inline bool has_kernel(const at::Tensor& x) {
  return x.is_cpu() && x.is_contiguous() && is_kernel_type(x.scalar_type());
}

/// Calls body with a value of the C++ type.
template <class Body>
void dispatch_kernel_type(c10::ScalarType type, Body&& body) {
  if (type == c10::ScalarType::Float) body(float{});
  else if (type == c10::ScalarType::Double) body(double{});
  else if (type == c10::ScalarType::BFloat16) body(c10::BFloat16{});
  else throw std::logic_error("no kernel for this element type");
}

}  // namespace medfuse::ops
