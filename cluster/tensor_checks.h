// What every communicator demands of its tensors, checked before anything is sent. Faults of the caller: std::logic_error.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "cluster/communicator.h"

namespace medfuse::cluster {

/// Contiguous, dense, on the device, of a type that communicators carry.
void check_tensor(const char* operation, const at::Tensor& tensor, at::Device device);
/// One type for both, and `larger` has `factor` times the elements of `smaller`.
void check_pair(const char* operation, const at::Tensor& larger, const at::Tensor& smaller, std::int64_t factor);
/// The number of elements is a multiple of the group's size.
void check_blocks(const char* operation, const at::Tensor& tensor, int size);
/// No common memory.
void check_apart(const char* operation, const at::Tensor& a, const at::Tensor& b);
void check_root(const char* operation, int root, int size);
/// Another member than the own one.
void check_member(const char* operation, int member, int own, int size);
/// "f32", "bf16", ...: for messages.
const char* type_name(at::ScalarType type);
/// "all_reduce (sum) of 4096 x f32 among 4 ranks".
std::string describe(const char* operation, const at::Tensor& tensor, int size);
/// "send of 4096 x f32 to member 2 of 4", with the words "send" and "to".
std::string describe_message(const char* operation, const at::Tensor& tensor, const char* direction, int member,
                             int size);
const char* reduction_name(Reduction reduction);

}  // namespace medfuse::cluster
