#include "cluster/shared_exchange.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace medfuse::cluster {

namespace {

constexpr std::size_t most_steps = 3;
constexpr std::size_t board_bytes = 4096;
/// A turn ends after so many steps: other collectives and those who wait want theirs.
constexpr int steps_in_a_turn = 12;

}  // namespace

/// At the start of a member's segment, written by that member alone.
struct SharedChannel::Board {
  using Counter = std::atomic<std::uint64_t>;
  using Rounds = std::atomic<std::int64_t>;
  static_assert(Counter::is_always_lock_free && Rounds::is_always_lock_free, "others look at it from other processes");

  alignas(64) Counter started;   ///< collectives
  Counter finished;
  /// Rounds of each step, counted over all collectives: never set back, and 64 bits last longer than any job.
  std::array<Rounds, most_steps> done;
  const void* offered;                   ///< in the member's own program
  /// Of the last two collectives: a member may begin the next before another has looked at this one's.
  alignas(64) std::array<std::array<char, 128>, 2> operations;

  /// As much of the name as fits, zeros behind.
  void name(std::uint64_t number, const std::string& operation) {
    auto& place = operations[number % 2];
    place.fill(0);
    std::memcpy(place.data(), operation.data(), std::min(operation.size(), place.size() - 1));
  }
  const char* named(std::uint64_t number) const { return operations[number % 2].data(); }
};

SharedChannel::SharedChannel(std::shared_ptr<MpiGroup> group, std::unique_ptr<SharedMemory> memory,
                             std::int64_t slot_bytes, bool read_directly)
    : group_(std::move(group)), memory_(std::move(memory)), slot_bytes_(slot_bytes), read_directly_(read_directly) {}

std::shared_ptr<SharedChannel> SharedChannel::open(const std::shared_ptr<MpiGroup>& group, std::int64_t slot_bytes,
                                                   bool read_directly, std::chrono::milliseconds timeout) {
  static_assert(sizeof(Board) <= board_bytes);
  if (slot_bytes < 8 * group->size()) throw std::logic_error("a slot must hold an element for each member");
  slot_bytes = (slot_bytes + 63) / 64 * 64;  // whole cache lines, so that elements are aligned
  auto memory = SharedMemory::map(group, board_bytes + static_cast<std::size_t>(slots * slot_bytes), timeout);
  if (!memory) return nullptr;
  return std::shared_ptr<SharedChannel>(new SharedChannel(group, std::move(memory), slot_bytes, read_directly));
}

char* SharedChannel::slot(int member, std::int64_t round) const {
  return memory_->of(member) + board_bytes + round % slots * slot_bytes_;
}

void SharedChannel::offer(const void* data) { board(rank()).offered = data; }

void SharedChannel::read_offered(int member, void* to, std::int64_t from_byte, std::size_t bytes) const {
  memory_->read(member, to, static_cast<const char*>(board(member).offered) + from_byte, bytes);
}

SharedChannel::Board& SharedChannel::board(int member) const {
  return *reinterpret_cast<Board*>(memory_->of(member));  // zero, as its counters are at first
}

std::vector<int> SharedChannel::without(const std::function<bool(const Board&)>& truth) const {
  std::vector<int> members;
  for (int r = 0; r < size(); ++r) {
    if (!truth(board(r))) members.push_back(group_->world_rank(r));
  }
  return members;
}

SharedExchange::SharedExchange(std::shared_ptr<SharedChannel> channel, std::string operation, std::int64_t rounds,
                               std::vector<Step> steps, std::uint64_t number, std::int64_t rounds_before)
    : channel_(std::move(channel)),
      operation_(std::move(operation)),
      rounds_(rounds),
      steps_(std::move(steps)),
      number_(number),
      rounds_before_(rounds_before),
      done_(steps_.size(), 0) {
  if (rounds < 1 || done_.size() < 2 || done_.size() > most_steps) {
    throw std::logic_error("a shared exchange has two or three steps and at least one round");
  }
}

std::shared_ptr<SharedExchange> SharedExchange::start(std::shared_ptr<SharedChannel> channel, std::string operation,
                                                      std::int64_t rounds, std::vector<Step> steps) {
  SharedChannel& c = *channel;
  auto exchange = std::make_shared<SharedExchange>(std::move(channel), std::move(operation), rounds, std::move(steps),
                                                   c.started_, c.rounds_);
  c.rounds_ += rounds;
  c.board(c.rank()).started.store(++c.started_, std::memory_order_release);
  Progress::instance().add(exchange);
  return exchange;
}

void SharedExchange::announce() {
  channel_->board(channel_->rank()).name(number_, operation_);
  announced_ = true;
}

void SharedExchange::check_agreement() const {
  const char* const own = channel_->board(channel_->rank()).named(number_);
  for (int r = 0; r < channel_->size(); ++r) {
    const char* const other = channel_->board(r).named(number_);
    if (std::strcmp(own, other) == 0) continue;
    communication_error("rank {} in {}: rank {} is in {}; the ranks disagree on the size, or on the order of collectives",
                        channel_->own_world_rank(), operation_, channel_->group_->world_rank(r), other);
  }
}

bool SharedExchange::may_do(std::size_t step) const { return done_[step] < rounds_ && holding_up(step).empty(); }

std::vector<int> SharedExchange::holding_up(std::size_t step) const {
  const std::int64_t round = done_[step];
  std::size_t before = step - 1;
  std::int64_t needed = rounds_before_ + round + 1;
  if (step == 0) {
    if (round < SharedChannel::slots) {
      return channel_->without([&](const auto& board) { return board.finished.load(std::memory_order_acquire) >= number_; });
    }
    before = done_.size() - 1;
    needed -= SharedChannel::slots;
  }
  return channel_->without([&](const auto& board) { return board.done[before].load(std::memory_order_acquire) >= needed; });
}

bool SharedExchange::advance() {
  SharedChannel& channel = *channel_;
  if (channel.failed_) {
    communication_error("rank {} in {}: an earlier collective of the same ranks has failed; run the command again",
                        channel.own_world_rank(), operation_);
  }
  if (channel.finished_.load(std::memory_order_acquire) != number_) return false;
  if (!announced_) announce();
  auto& own = channel.board(channel.rank());
  const std::size_t last = steps_.size() - 1;
  try {
    for (int i = 0; i < steps_in_a_turn && done_[last] < rounds_; ++i) {
      // Later steps first: they free slots.
      std::size_t step = steps_.size();
      while (step > 0 && !may_do(step - 1)) --step;
      if (step-- == 0) return false;
      if (step == 1 && done_[1] == 0) check_agreement();
      steps_[step](done_[step]);
      own.done[step].store(rounds_before_ + ++done_[step], std::memory_order_release);
      has_moved();
    }
  } catch (...) {
    channel.failed_ = true;
    throw;
  }
  if (done_[last] < rounds_) return false;
  steps_.clear();  // lets go of the tensors that the steps hold
  own.finished.store(number_ + 1, std::memory_order_release);
  channel.finished_.store(number_ + 1, std::memory_order_release);
  return true;
}

std::vector<int> SharedExchange::waits_for() const {
  auto missing =
      channel_->without([&](const auto& board) { return board.started.load(std::memory_order_acquire) > number_; });
  for (std::size_t step = 0; step < done_.size() && missing.empty(); ++step) {
    if (done_[step] == rounds_) continue;
    missing = holding_up(step);
    std::erase(missing, channel_->own_world_rank());  // it waits itself, for what comes before the step
  }
  std::sort(missing.begin(), missing.end());
  return missing;
}

}  // namespace medfuse::cluster
