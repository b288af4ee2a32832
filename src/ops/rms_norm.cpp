#include "src/ops/rms_norm.h"

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

/// 1 / sqrt(mean(x^2) + epsilon), [..., 1].
at::Tensor inverse_root(const at::Tensor& wide_x, double epsilon) {
  return (wide_x.square().mean(-1, true) + epsilon).rsqrt();
}

/// Writes y [rows, width] and 1 / sqrt(mean(x^2) + epsilon) [rows].
void by_kernel(const at::Tensor& y, const at::Tensor& inverse, const at::Tensor& x, const at::Tensor& weight,
               double epsilon) {
  const std::int64_t width = x.size(-1);
  dispatch_kernel_type(x.scalar_type(), [&]<class T>(T) {
    using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
    T* const out = y.mutable_data_ptr<T>();
    Wide* const scale = inverse.mutable_data_ptr<Wide>();
    const T* const in = x.const_data_ptr<T>();
    const T* const w = weight.const_data_ptr<T>();
    parallel_rows(inverse.numel(), width, [&](std::int64_t begin, std::int64_t end) {
      MEDFUSE_KERNEL(rms_norm, out, scale, in, w, epsilon, begin, end, width);
    });
  });
}

at::Tensor back_by_kernel(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse) {
  at::Tensor dx = at::empty_like(x);
  const std::int64_t width = x.size(-1);
  dispatch_kernel_type(x.scalar_type(), [&]<class T>(T) {
    using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
    T* const out = dx.mutable_data_ptr<T>();
    const T* const in = x.const_data_ptr<T>();
    const T* const slope = dy.const_data_ptr<T>();
    const T* const w = weight.const_data_ptr<T>();
    const Wide* const scale = inverse.const_data_ptr<Wide>();
    parallel_rows(inverse.numel(), width, [&](std::int64_t begin, std::int64_t end) {
      MEDFUSE_KERNEL(rms_norm_backward, out, slope, scale, in, w, begin, end, width);
    });
  });
  return dx;
}

/// dx = inverse * (dy * weight - x * inverse^2 * mean(dy * weight * x)).
at::Tensor back_by_tensors(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse) {
  const at::Tensor scale = inverse.view({-1, 1});
  const at::Tensor wide_x = x.view({-1, x.size(-1)}).to(inverse.scalar_type());
  at::Tensor slope = dy.view(wide_x.sizes()) * weight.to(inverse.scalar_type());
  const at::Tensor along = (slope * wide_x).mean(-1, true).mul_(scale.square());
  return slope.sub_(wide_x * along).mul_(scale).to(x.scalar_type()).view(x.sizes());
}

/// Keeps x and a number a row, on any device: left to itself LibTorch would keep x in the wide type beside it.
struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, double epsilon) {
    const at::ScalarType wide = wide_type(x.scalar_type());
    at::Tensor y, inverse;
    if (has_kernel(x)) {
      y = at::empty_like(x);
      inverse = at::empty({x.numel() / x.size(-1)}, x.options().dtype(wide));
      by_kernel(y, inverse, x, weight, epsilon);
    } else {
      const at::Tensor wide_x = x.to(wide);
      const at::Tensor scale = inverse_root(wide_x, epsilon);
      y = (wide_x * scale * weight).to(x.scalar_type());
      inverse = scale.flatten();
    }
    context->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor& inverse = saved[2];
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor dx;
    at::Tensor dweight;
    if (context->needs_input_grad(0)) {
      dx = has_kernel(x) ? back_by_kernel(dy, x, weight, inverse) : back_by_tensors(dy, x, weight, inverse);
    }
    if (context->needs_input_grad(1)) {
      const at::ScalarType wide = inverse.scalar_type();
      const std::int64_t width = x.size(-1);
      dweight = (dy.view({-1, width}).to(wide) * x.view({-1, width}).to(wide) * inverse.unsqueeze(1))
                    .sum(0)
                    .to(weight.scalar_type());
    }
    return {dx, dweight, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm_plain(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const at::Tensor wide = x.to(wide_type(x.scalar_type()));
  return (wide * inverse_root(wide, epsilon) * weight).to(x.scalar_type());
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (x.dim() == 0 || weight.dim() != 1 || weight.size(0) != x.size(-1) || weight.scalar_type() != x.scalar_type()) {
    throw std::logic_error("rms_norm: weight must be [D] and of x's type");
  }
  if (x.numel() == 0) return rms_norm_plain(x, weight, epsilon);
  return RmsNorm::apply(x.contiguous(), weight.contiguous(), epsilon);
}

}  // namespace medfuse::ops
