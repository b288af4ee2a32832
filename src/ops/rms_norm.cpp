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

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight, double epsilon) {
    const std::int64_t width = x.size(-1);
    const std::int64_t rows = x.numel() / width;
    at::Tensor y = at::empty_like(x);
    at::Tensor inverse = at::empty({rows}, x.options().dtype(wide_type(x.scalar_type())));
    dispatch_kernel_type(x.scalar_type(), [&]<class T>(T) {
      using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
      T* const out = y.mutable_data_ptr<T>();
      Wide* const scale = inverse.mutable_data_ptr<Wide>();
      const T* const in = x.const_data_ptr<T>();
      const T* const w = weight.const_data_ptr<T>();
      parallel_rows(rows, width, [&](std::int64_t begin, std::int64_t end) {
        MEDFUSE_KERNEL(rms_norm, out, scale, in, w, epsilon, begin, end, width);
      });
    });
    context->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor& inverse = saved[2];
    const at::Tensor dy = gradients[0].contiguous();
    const std::int64_t width = x.size(-1);
    const std::int64_t rows = x.numel() / width;
    at::Tensor dx;
    at::Tensor dweight;
    if (context->needs_input_grad(0)) {
      dx = at::empty_like(x);
      dispatch_kernel_type(x.scalar_type(), [&]<class T>(T) {
        using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;
        T* const out = dx.mutable_data_ptr<T>();
        const T* const in = x.const_data_ptr<T>();
        const T* const slope = dy.const_data_ptr<T>();
        const T* const w = weight.const_data_ptr<T>();
        const Wide* const scale = inverse.const_data_ptr<Wide>();
        parallel_rows(rows, width, [&](std::int64_t begin, std::int64_t end) {
          MEDFUSE_KERNEL(rms_norm_backward, out, slope, scale, in, w, begin, end, width);
        });
      });
    }
    if (context->needs_input_grad(1)) {
      const at::ScalarType wide = inverse.scalar_type();
      dweight = (dy.reshape({rows, width}).to(wide) * x.reshape({rows, width}).to(wide) * inverse.unsqueeze(1))
                    .sum(0)
                    .to(weight.scalar_type());
    }
    return {dx, dweight, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm_plain(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const at::Tensor wide = x.to(wide_type(x.scalar_type()));
  return (wide * (wide.square().mean(-1, true) + epsilon).rsqrt() * weight).to(x.scalar_type());
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (x.dim() == 0 || weight.dim() != 1 || weight.size(0) != x.size(-1) || weight.scalar_type() != x.scalar_type()) {
    throw std::logic_error("rms_norm: weight must be [D] and of x's type");
  }
  const bool fused = x.is_cpu() && is_kernel_type(x.scalar_type()) && x.numel() > 0;
  return fused ? RmsNorm::apply(x.contiguous(), weight.contiguous(), epsilon) : rms_norm_plain(x, weight, epsilon);
}

}  // namespace medfuse::ops
