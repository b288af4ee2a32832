#include "cluster/tensor_checks.h"

#include <fmt/format.h>

#include <stdexcept>

namespace medfuse::cluster {

namespace {
[[noreturn]] void fault(const std::string& text) { throw std::logic_error(text); }
}  // namespace

const char* type_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat: return "f32";
    case at::kDouble: return "f64";
    case at::kBFloat16: return "bf16";
    case at::kHalf: return "f16";
    case at::kLong: return "int64";
    case at::kByte: return "uint8";
    default: return nullptr;
  }
}

void check_tensor(const char* operation, const at::Tensor& tensor, at::Device device) {
  if (!tensor.defined()) fault(fmt::format("{}: undefined tensor", operation));
  if (tensor.layout() != at::kStrided) fault(fmt::format("{}: tensor is not dense", operation));
  if (tensor.device() != device) {
    fault(fmt::format("{}: tensor is on {}, this communicator serves {}", operation, tensor.device().str(), device.str()));
  }
  if (!tensor.is_contiguous()) fault(fmt::format("{}: tensor is not contiguous", operation));
  if (!type_name(tensor.scalar_type())) {
    fault(fmt::format("{}: tensors of type {} are not carried", operation, at::toString(tensor.scalar_type())));
  }
}

void check_pair(const char* operation, const at::Tensor& larger, const at::Tensor& smaller, std::int64_t factor) {
  if (larger.scalar_type() != smaller.scalar_type()) {
    fault(fmt::format("{}: input and output differ in type", operation));
  }
  if (larger.numel() != factor * smaller.numel()) {
    fault(fmt::format("{}: {} elements are not {} times {}", operation, larger.numel(), factor, smaller.numel()));
  }
}

void check_blocks(const char* operation, const at::Tensor& tensor, int size) {
  if (tensor.numel() % size == 0) return;
  fault(fmt::format("{}: {} elements are not {} equal blocks", operation, tensor.numel(), size));
}

void check_apart(const char* operation, const at::Tensor& a, const at::Tensor& b) {
  const char* a_begin = static_cast<const char*>(a.const_data_ptr());
  const char* b_begin = static_cast<const char*>(b.const_data_ptr());
  if (a_begin < b_begin + b.nbytes() && b_begin < a_begin + a.nbytes()) {
    fault(fmt::format("{}: input and output share memory", operation));
  }
}

void check_member(const char* operation, int member, int own, int size) {
  check_root(operation, member, size);
  if (member == own) fault(fmt::format("{}: rank {} itself is not another member", operation, own));
}

void check_root(const char* operation, int root, int size) {
  if (root < 0 || root >= size) fault(fmt::format("{}: no rank {} among {}", operation, root, size));
}

const char* reduction_name(Reduction reduction) { return reduction == Reduction::sum ? "sum" : "max"; }

std::string describe(const char* operation, const at::Tensor& tensor, int size) {
  return fmt::format("{} of {} x {} among {} ranks", operation, tensor.numel(), type_name(tensor.scalar_type()), size);
}

std::string describe_message(const char* operation, const at::Tensor& tensor, const char* direction, int member,
                             int size) {
  return fmt::format("{} of {} x {} {} member {} of {}", operation, tensor.numel(), type_name(tensor.scalar_type()),
                     direction, member, size);
}

}  // namespace medfuse::cluster
