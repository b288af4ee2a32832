#include "src/ops/rotary.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <stdexcept>
#include <type_traits>

#include "src/ops/dispatch.h"
#include "src/ops/kernels.h"
#include "src/ops/rows.h"

namespace medfuse::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, int sign) {
  at::Tensor y = at::empty_like(x);
  const std::int64_t heads = x.size(1);
  const std::int64_t half = x.size(2) / 2;
  dispatch_kernel_type(x.scalar_type(), [&]<class T>(T) {
    using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
    T* const out = y.mutable_data_ptr<T>();
    const T* const in = x.const_data_ptr<T>();
    const Wide* const c = cos.const_data_ptr<Wide>();
    const Wide* const s = sin.const_data_ptr<Wide>();
    parallel_rows(x.size(0), heads * half * 2, [&](std::int64_t begin, std::int64_t end) {
      MEDFUSE_KERNEL(rotary, out, in, c, s, sign, begin, end, heads, half);
    });
  });
  return y;
}

/// The transpose of a rotation is the rotation back: no value of x needs to be kept.
struct Rotary : torch::autograd::Function<Rotary> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return turn(x, cos, sin, 1);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    return {turn(gradients[0].contiguous(), saved[0], saved[1], -1), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rotary_plain(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const at::Tensor wide = x.to(wide_type(x.scalar_type()));
  const auto halves = wide.chunk(2, -1);
  const at::Tensor c = cos.unsqueeze(1);
  const at::Tensor s = sin.unsqueeze(1);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1).to(x.scalar_type());
}

at::Tensor rotary(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const bool fits = x.dim() == 3 && x.size(2) % 2 == 0 && cos.dim() == 2 && cos.size(0) == x.size(0) &&
                    cos.size(1) == x.size(2) / 2 && sin.sizes() == cos.sizes() &&
                    cos.scalar_type() == wide_type(x.scalar_type()) && sin.scalar_type() == cos.scalar_type();
  if (!fits) throw std::logic_error("rotary: x [T, H, 2 half] and cos, sin [T, half] of the wide type are needed");
  if (!x.is_cpu() || !is_kernel_type(x.scalar_type()) || x.numel() == 0) return rotary_plain(x, cos, sin);
  return Rotary::apply(x.contiguous(), cos.contiguous(), sin.contiguous());
}

}  // namespace medfuse::ops
