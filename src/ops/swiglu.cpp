#include "src/ops/swiglu.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <stdexcept>

#include "src/ops/dispatch.h"
#include "src/ops/kernels.h"
#include "src/ops/rows.h"

namespace medfuse::ops {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor by_kernel(const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor y = at::empty_like(gate);
  dispatch_kernel_type(gate.scalar_type(), [&]<class T>(T) {
    T* const out = y.mutable_data_ptr<T>();
    const T* const g = gate.const_data_ptr<T>();
    const T* const u = up.const_data_ptr<T>();
    parallel_rows(gate.numel(), 1, [&](std::int64_t begin, std::int64_t end) {
      MEDFUSE_KERNEL(swiglu, out + begin, g + begin, u + begin, end - begin);
    });
  });
  return y;
}

variable_list back_by_kernel(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor dgate = at::empty_like(gate);
  at::Tensor dup = at::empty_like(up);
  dispatch_kernel_type(gate.scalar_type(), [&]<class T>(T) {
    T* const dg = dgate.mutable_data_ptr<T>();
    T* const du = dup.mutable_data_ptr<T>();
    const T* const d = dy.const_data_ptr<T>();
    const T* const g = gate.const_data_ptr<T>();
    const T* const u = up.const_data_ptr<T>();
    parallel_rows(gate.numel(), 1, [&](std::int64_t begin, std::int64_t end) {
      MEDFUSE_KERNEL(swiglu_backward, dg + begin, du + begin, d + begin, g + begin, u + begin, end - begin);
    });
  });
  return {dgate, dup};
}

variable_list back_by_tensors(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up) {
  const at::ScalarType type = gate.scalar_type();
  const at::ScalarType wide = wide_type(type);
  const at::Tensor g = gate.to(wide), s = g.sigmoid(), d = dy.to(wide);
  at::Tensor dup = (d * g).mul_(s).to(type);
  const at::Tensor slope = (1 - s).mul_(g).add_(1).mul_(s);
  return {(d * up.to(wide)).mul_(slope).to(type), dup};
}

/// Keeps its two inputs and nothing else, on any device: left to itself LibTorch would keep four tensors of the wide type.
struct Swiglu : torch::autograd::Function<Swiglu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    context->save_for_backward({gate, up});
    return has_kernel(gate) ? by_kernel(gate, up) : swiglu_plain(gate, up);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dy = gradients[0].contiguous();
    return has_kernel(dy) ? back_by_kernel(dy, saved[0], saved[1]) : back_by_tensors(dy, saved[0], saved[1]);
  }
};

}  // namespace

at::Tensor swiglu_plain(const at::Tensor& gate, const at::Tensor& up) {
  const at::ScalarType wide = wide_type(gate.scalar_type());
  const at::Tensor g = gate.to(wide);
  return (g * g.sigmoid() * up.to(wide)).to(gate.scalar_type());
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  if (gate.sizes() != up.sizes() || gate.scalar_type() != up.scalar_type()) {
    throw std::logic_error("swiglu: gate and up differ in shape or type");
  }
  return Swiglu::apply(gate.contiguous(), up.contiguous());
}

}  // namespace medfuse::ops
