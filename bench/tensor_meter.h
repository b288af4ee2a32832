// Counts the bytes of all tensors in main memory, whatever thread makes or frees them: collectives free theirs on a thread
// of their own, which a profiler's hook in the measured thread would not see. Weights in a mapped file do not count.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace medfuse::bench {

/// One in a process, from before the first tensor that counts, to the end.
class TensorMeter : public c10::Allocator {
 public:
  static TensorMeter& instance() {
    static TensorMeter* const meter = [] {
      auto* const made = new TensorMeter;  // tensors may outlive everything else
      c10::SetCPUAllocator(made, /*priority=*/100);
      return made;
    }();
    return *meter;
  }

  std::int64_t now() const { return now_; }
  std::int64_t peak() const { return peak_; }
  void restart() { peak_ = now_.load(); }

  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &release, at::Device(at::kCPU)};
    char* const data = static_cast<char*>(c10::alloc_cpu(bytes + kHeader)) + kHeader;
    const auto size = static_cast<std::int64_t>(bytes);
    std::memcpy(data - kHeader, &size, sizeof size);
    count(size);
    return {data, data, &release, at::Device(at::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }

 private:
  static constexpr std::size_t kHeader = 64;  // holds the size, and keeps the alignment

  void count(std::int64_t bytes) {
    const std::int64_t now = now_ += bytes;
    std::int64_t before = peak_;
    while (now > before && !peak_.compare_exchange_weak(before, now)) {
    }
  }

  static void release(void* data) {
    if (data == nullptr) return;
    char* const begin = static_cast<char*>(data) - kHeader;
    std::int64_t size = 0;
    std::memcpy(&size, begin, sizeof size);
    instance().count(-size);
    c10::free_cpu(begin);
  }

  std::atomic<std::int64_t> now_ = 0;
  std::atomic<std::int64_t> peak_ = 0;
};

}  // namespace medfuse::bench
