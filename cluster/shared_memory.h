// Memory that the ranks of one node write for each other, and what else of each other's they can read.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cluster/exchange.h"

namespace medfuse::cluster {

/// One segment for each member of a group, zero at first, mapped by all. It has no name in any file system, so nothing is
/// left of it when its processes end, however they end; pages take memory once they are touched.
class SharedMemory {
 public:
  /// Collective over the group; no wait is longer than `timeout`. Null, for all members alike, where they are on several
  /// nodes, or cannot open each other's files under /proc (containers that do not share their process numbers).
  static std::unique_ptr<SharedMemory> map(const std::shared_ptr<MpiGroup>& group, std::size_t bytes_each,
                                           std::chrono::milliseconds timeout);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  /// A member's segment, at the start of a page.
  char* of(int member) const { return segments_[static_cast<std::size_t>(member)]; }

  /// Whether Linux lets the members read each other's memory (process_vm_readv); the same for all members.
  bool readable() const { return readable_; }
  /// Copies from an address of that member's program, if readable(). What stands there must not change meanwhile. Throws
  /// Error(communication) if the member is gone.
  void read(int member, void* to, const void* from, std::size_t bytes) const;

 private:
  SharedMemory(std::shared_ptr<MpiGroup> group, std::size_t bytes_each);
  /// Maps the file; false if that fails.
  bool map_segment(int member, int file);

  /// Bytes that process_vm_readv gives, or -1 with the reason in errno.
  std::ptrdiff_t read_some(int member, void* to, const void* from, std::size_t bytes) const;

  std::shared_ptr<MpiGroup> group_;
  std::size_t length_;            ///< of a segment, with the page that tells whose it is
  std::vector<char*> segments_;   ///< null: not mapped
  std::vector<std::int64_t> processes_;
  bool readable_ = false;
};

}  // namespace medfuse::cluster
