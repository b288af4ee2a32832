#include "cluster/shared_memory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <utility>

#include "base/error.h"

namespace medfuse::cluster {

namespace {

constexpr std::size_t page = 4096;
constexpr const char* file_name = "medfuse";

/// Where a member's segment can be found by others of the same node, and how they know that they have found it.
struct Card {
  std::array<char, 40> node{};  ///< Linux draws it at each start of the machine
  std::int64_t process = 0;
  std::int64_t file = -1;
  const std::uint64_t* token_place = nullptr;  ///< in its program
  std::uint64_t token = 0;
};

/// How much of a member's memory this one has.
enum class Access : char { none, segment, all };

class File {
 public:
  explicit File(int number) : number_(number) {}
  ~File() {
    if (number_ >= 0) close(number_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

std::uint64_t random_token() {
  std::random_device device;
  return static_cast<std::uint64_t>(device()) << 32 | device();
}

/// The file of that card, or -1. The name is looked at first: another process may have that number in this container.
int open_file_of(const Card& card) {
  const std::string path = fmt::format("/proc/{}/fd/{}", card.process, card.file);
  std::array<char, 64> target{};
  const ssize_t length = readlink(path.c_str(), target.data(), target.size() - 1);
  if (length < 0 || std::strstr(target.data(), fmt::format("/memfd:{}", file_name).c_str()) != target.data()) return -1;
  return open(path.c_str(), O_RDWR | O_CLOEXEC);
}

/// Everyone's value, in rank order. Collective.
template <class T>
std::vector<T> all_gather(const std::shared_ptr<MpiGroup>& group, const T& own, std::chrono::milliseconds timeout) {
  const int n = group->size(), me = group->rank();
  const auto all = std::make_shared<std::vector<T>>(static_cast<std::size_t>(n));  // the exchange may outlive a timeout
  (*all)[static_cast<std::size_t>(me)] = own;
  Exchange::start(group, fmt::format("sharing of memory among {} ranks", n), {[=](Exchange& e) {
    for_each_other(me, n, [&](int to, int from) {
      e.receive(from, &(*all)[static_cast<std::size_t>(from)], sizeof(T), MPI_BYTE);
      e.send(to, &(*all)[static_cast<std::size_t>(me)], sizeof(T), MPI_BYTE);
    });
  }})->wait(timeout);
  return *all;
}

}  // namespace

SharedMemory::SharedMemory(std::shared_ptr<MpiGroup> group, std::size_t bytes_each)
    : group_(std::move(group)),
      length_(page + bytes_each),
      segments_(static_cast<std::size_t>(group_->size()), nullptr),
      processes_(segments_.size()) {}

SharedMemory::~SharedMemory() {
  for (char* segment : segments_) {
    if (segment != nullptr) munmap(segment - page, length_);
  }
}

bool SharedMemory::map_segment(int member, int file) {
  if (file < 0 || lseek(file, 0, SEEK_END) != static_cast<off_t>(length_)) return false;
  void* const start = mmap(nullptr, length_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (start == MAP_FAILED) return false;
  segments_[static_cast<std::size_t>(member)] = static_cast<char*>(start) + page;
  return true;
}

std::ptrdiff_t SharedMemory::read_some(int member, void* to, const void* from, std::size_t bytes) const {
  const iovec here{to, bytes}, there{const_cast<void*>(from), bytes};
  return process_vm_readv(static_cast<pid_t>(processes_[static_cast<std::size_t>(member)]), &here, 1, &there, 1, 0);
}

void SharedMemory::read(int member, void* to, const void* from, std::size_t bytes) const {
  for (std::size_t done = 0; done < bytes;) {
    const std::ptrdiff_t more =
        read_some(member, static_cast<char*>(to) + done, static_cast<const char*>(from) + done, bytes - done);
    if (more <= 0) {
      communication_error("rank {} cannot read memory of rank {}: {}; the peer may be gone, run the command again",
                          group_->own_world_rank(), group_->world_rank(member), std::strerror(errno));
    }
    done += static_cast<std::size_t>(more);
  }
}

std::unique_ptr<SharedMemory> SharedMemory::map(const std::shared_ptr<MpiGroup>& group, std::size_t bytes_each,
                                                std::chrono::milliseconds timeout) {
  const int n = group->size(), me = group->rank();
  std::unique_ptr<SharedMemory> memory(new SharedMemory(group, bytes_each));
  const auto token_of = [&](int member) { return reinterpret_cast<std::uint64_t*>(memory->of(member) - page); };

  const File own(memfd_create(file_name, MFD_CLOEXEC));
  Card card;
  std::ifstream("/proc/sys/kernel/random/boot_id").read(card.node.data(), static_cast<std::streamsize>(card.node.size() - 1));
  if (own.number() >= 0 && ftruncate(own.number(), static_cast<off_t>(memory->length_)) == 0 &&
      memory->map_segment(me, own.number())) {
    card.process = getpid();
    card.file = own.number();
    card.token_place = token_of(me);
    card.token = *token_of(me) = random_token();
  }
  const std::vector<Card> cards = all_gather(group, card, timeout);
  Access access = Access::all;
  for (int r = 0; r < n; ++r) {
    const Card& other = cards[static_cast<std::size_t>(r)];
    if (other.file < 0 || other.node != card.node) access = Access::none;
    if (r == me || access == Access::none) continue;
    const File file(open_file_of(other));
    if (!memory->map_segment(r, file.number()) || *token_of(r) != other.token) {
      access = Access::none;
      continue;
    }
    memory->processes_[static_cast<std::size_t>(r)] = other.process;
    std::uint64_t token = 0;
    if (memory->read_some(r, &token, other.token_place, sizeof(token)) != sizeof(token) || token != other.token) {
      access = Access::segment;
    }
  }
  // Own files stay open until all have opened them.
  const std::vector<Access> all = all_gather(group, access, timeout);
  const Access least = *std::min_element(all.begin(), all.end());
  memory->readable_ = least == Access::all;
  return least == Access::none ? nullptr : std::move(memory);
}

}  // namespace medfuse::cluster
