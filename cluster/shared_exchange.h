// A collective among ranks of one node, through memory that they share: in rounds, each a few steps on a piece of the
// tensors, small enough to stay in the processors' caches.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/progress.h"
#include "cluster/shared_memory.h"

namespace medfuse::cluster {

/// The memory of a group: of each member some slots, and counters that tell the others how far it is. One collective
/// uses it at a time, in the order in which they were started.
class SharedChannel {
 public:
  static constexpr std::int64_t slots = 4;  ///< of a member: so many rounds may be under way

  /// Collective. `slot_bytes`: of a slot; no less than 8 for each member. `read_directly`: whether members may also read
  /// each other's tensors, the same for all. Null as SharedMemory::map says.
  static std::shared_ptr<SharedChannel> open(const std::shared_ptr<MpiGroup>& group, std::int64_t slot_bytes,
                                             bool read_directly, std::chrono::milliseconds timeout);

  int rank() const { return group_->rank(); }
  int size() const { return group_->size(); }
  int own_world_rank() const { return group_->own_world_rank(); }
  std::int64_t slot_bytes() const { return slot_bytes_; }
  char* slot(int member, std::int64_t round) const;

  /// Whether members can read tensors of each other, instead of what is put into slots.
  bool readable() const { return read_directly_ && memory_->readable(); }
  /// In the first step of a round: where the others find this member's tensor, which stays as it is until all have done
  /// the step that reads it.
  void offer(const void* data);
  /// Copies `bytes` from that place on in what the member offers. Throws Error(communication) if it is gone.
  void read_offered(int member, void* to, std::int64_t from_byte, std::size_t bytes) const;

 private:
  friend class SharedExchange;
  struct Board;
  SharedChannel(std::shared_ptr<MpiGroup> group, std::unique_ptr<SharedMemory> memory, std::int64_t slot_bytes,
                bool read_directly);
  Board& board(int member) const;
  /// Members for whom it is not true, by their world ranks.
  std::vector<int> without(const std::function<bool(const Board&)>& truth) const;

  std::shared_ptr<MpiGroup> group_;
  std::unique_ptr<SharedMemory> memory_;
  std::int64_t slot_bytes_;
  bool read_directly_;
  std::uint64_t started_ = 0;               ///< collectives
  std::int64_t rounds_ = 0;                 ///< of all that were started
  std::atomic<std::uint64_t> finished_ = 0; ///< so the number of the one whose turn it is
  std::atomic<bool> failed_ = false;
};

class SharedExchange : public Task {
 public:
  /// What this member does with a round's piece. Steps beyond the first run once all members have done the step before
  /// on that round; the slots of a round are free again once all have done its last step.
  using Step = std::function<void(std::int64_t round)>;

  /// Starts it: as far as possible at once, and from now on Progress moves it. At least one round and two steps, at most
  /// three; all members give the same operation, rounds and number of steps. One that gives another operation makes it
  /// fail on all.
  static std::shared_ptr<SharedExchange> start(std::shared_ptr<SharedChannel> channel, std::string operation,
                                               std::int64_t rounds, std::vector<Step> steps);

  SharedExchange(std::shared_ptr<SharedChannel> channel, std::string operation, std::int64_t rounds,
                 std::vector<Step> steps, std::uint64_t number, std::int64_t rounds_before);

  const std::string& operation() const override { return operation_; }
  std::vector<int> waits_for() const override;

 private:
  bool advance() override;
  void announce();
  void check_agreement() const;
  bool may_do(std::size_t step) const;
  /// Members that keep this one from doing the step next, by their world ranks.
  std::vector<int> holding_up(std::size_t step) const;

  std::shared_ptr<SharedChannel> channel_;
  std::string operation_;
  std::int64_t rounds_;
  std::vector<Step> steps_;
  std::uint64_t number_;                  ///< of the group's collectives
  std::int64_t rounds_before_;            ///< of those before it
  std::vector<std::int64_t> done_;        ///< rounds, of each step
  bool announced_ = false;
};

}  // namespace medfuse::cluster
