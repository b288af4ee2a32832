#include "src/parallel/global_sum.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>

namespace medfuse::parallel {

namespace {

at::Tensor reduced_copy(const at::Tensor& x, cluster::Communicator& communicator) {
  at::Tensor sum = x.detach().clone(at::MemoryFormat::Contiguous);
  communicator.all_reduce(sum, cluster::Reduction::sum)->wait();
  return sum;
}

struct GlobalSum : torch::autograd::Function<GlobalSum> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, std::int64_t communicator) {
    context->saved_data["communicator"] = communicator;
    return reduced_copy(x, *reinterpret_cast<cluster::Communicator*>(communicator));
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const std::int64_t communicator = context->saved_data["communicator"].toInt();
    return {reduced_copy(gradients[0], *reinterpret_cast<cluster::Communicator*>(communicator)), at::Tensor()};
  }
};

}  // namespace

at::Tensor global_sum(const at::Tensor& x, cluster::Communicator& communicator) {
  // The address travels as a number because autograd keeps plain values only.
  return GlobalSum::apply(x, reinterpret_cast<std::int64_t>(&communicator));
}

}  // namespace medfuse::parallel
