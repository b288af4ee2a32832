// A collective as a few stages of point-to-point messages. Each has a tag of its own, so any number may be under way and
// may move at their own pace, which chains of non-blocking MPI collectives may not: those must start in one order.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/mpi_calls.h"
#include "cluster/progress.h"

namespace medfuse::cluster {

/// Ranks that talk to each other over a private MPI communicator.
class MpiGroup {
 public:
  /// Takes over `comm` (and frees it), unless it is MPI_COMM_NULL, which is an error of the caller.
  MpiGroup(MPI_Comm comm, std::int64_t largest_message);
  ~MpiGroup();
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  MPI_Comm comm() const { return comm_; }
  int rank() const { return rank_; }
  int size() const { return static_cast<int>(world_ranks_.size()); }
  int world_rank(int member) const { return world_ranks_[static_cast<std::size_t>(member)]; }
  int own_world_rank() const { return world_rank(rank_); }
  std::int64_t largest_message() const { return largest_message_; }  ///< elements
  /// Tag of the next collective: the same number on all members, who start collectives in the same order.
  int next_tag();
  /// Tags of the next message of a pair of members, counted for each pair and direction, and apart from the collectives:
  /// those are counted alike by all, of whom only two know of this message.
  int next_tag_to(int member) { return pair_tag(sent_, member); }
  int next_tag_from(int member) { return pair_tag(received_, member); }

 private:
  MPI_Comm comm_;
  int rank_ = 0;
  std::vector<int> world_ranks_;
  std::int64_t largest_message_;
  int pair_tag(std::vector<std::int64_t>& counts, int member) const;

  int largest_tag_ = 32767;
  std::int64_t started_ = 0;
  std::vector<std::int64_t> sent_, received_;  ///< by members, to and from this one
};

class Exchange : public Task {
 public:
  /// A stage starts when all messages of the one before are through; it computes and posts messages. Between two members
  /// messages arrive in the order in which they were posted, whatever the stage.
  using Stage = std::function<void(Exchange&)>;

  Exchange(std::shared_ptr<MpiGroup> group, std::string operation, std::vector<Stage> stages, int tag);

  /// Starts it: the first stage runs at once, and from now on Progress moves it. The first form is a collective's.
  static std::shared_ptr<Exchange> start(std::shared_ptr<MpiGroup> group, std::string operation,
                                         std::vector<Stage> stages);
  static std::shared_ptr<Exchange> start(std::shared_ptr<MpiGroup> group, std::string operation,
                                         std::vector<Stage> stages, int tag);

  /// To be called by stages. Messages longer than the group's limit go in pieces; empty ones are not sent.
  void send(int member, const void* data, std::int64_t count, MPI_Datatype type) {
    send_by(MPI_Isend, member, data, count, type);
  }
  /// Is not through before the member has begun to receive it, however short it is.
  void send_to_receiver(int member, const void* data, std::int64_t count, MPI_Datatype type) {
    send_by(MPI_Issend, member, data, count, type);
  }
  void receive(int member, void* data, std::int64_t count, MPI_Datatype type);

  void wait(std::chrono::milliseconds timeout);
  const std::string& operation() const override { return operation_; }
  std::vector<int> waits_for() const override;

 private:
  struct Message {
    int member;
    bool incoming;
    int count;
    MPI_Datatype type;
  };
  void send_by(decltype(&MPI_Isend) post, int member, const void* data, std::int64_t count, MPI_Datatype type);
  bool advance() override;
  void check(const Message& message, MPI_Status& status, bool has_error) const;

  std::shared_ptr<MpiGroup> group_;
  std::string operation_;
  std::vector<Stage> stages_;
  std::size_t next_stage_ = 0;
  int tag_;
  std::vector<MPI_Request> requests_;
  std::vector<Message> messages_;
  std::vector<int> finished_;
  std::vector<MPI_Status> statuses_;
};

/// The one stage of a barrier: a token to and from every other member, so that a time-out names who is missing.
Exchange::Stage meet(const std::shared_ptr<MpiGroup>& group);

/// Calls f(to, from) for each other member; everyone starts with the next one, so that no rank is asked by all at once.
template <class F>
void for_each_other(int rank, int size, const F& f) {
  for (int step = 1; step < size; ++step) f((rank + step) % size, (rank - step + size) % size);
}

/// Binomial tree over `size` ranks: where `rank`'s copy of the root's data comes from (-1 for the root) and goes to.
struct Tree {
  int parent = -1;
  std::vector<int> children;
};
Tree broadcast_tree(int rank, int size, int root);

}  // namespace medfuse::cluster
