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

 private:
  MPI_Comm comm_;
  int rank_ = 0;
  std::vector<int> world_ranks_;
  std::int64_t largest_message_;
  int largest_tag_ = 32767;
  std::int64_t started_ = 0;
};

class Exchange : public Task {
 public:
  /// A stage starts when all messages of the one before are through; it computes and posts messages. Between two members
  /// messages arrive in the order in which they were posted, whatever the stage.
  using Stage = std::function<void(Exchange&)>;

  Exchange(std::shared_ptr<MpiGroup> group, std::string operation, std::vector<Stage> stages);

  /// Starts it: from now on it moves whenever somebody waits for anything.
  static std::shared_ptr<Exchange> start(std::shared_ptr<MpiGroup> group, std::string operation,
                                         std::vector<Stage> stages);

  /// To be called by stages. Messages longer than the group's limit go in pieces; empty ones are not sent.
  void send(int member, const void* data, std::int64_t count, MPI_Datatype type);
  void receive(int member, void* data, std::int64_t count, MPI_Datatype type);
  /// A non-blocking collective of MPI's own (a barrier).
  void add(MPI_Request request);

  void wait(std::chrono::milliseconds timeout);
  const std::string& operation() const override { return operation_; }
  std::string waits_for() const override;

 private:
  struct Message {
    int member;  ///< -1: all
    bool incoming;
    int count;
    MPI_Datatype type;
  };
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

/// Binomial tree over `size` ranks: where `rank`'s copy of the root's data comes from (-1 for the root) and goes to.
struct Tree {
  int parent = -1;
  std::vector<int> children;
};
Tree broadcast_tree(int rank, int size, int root);

}  // namespace medfuse::cluster
