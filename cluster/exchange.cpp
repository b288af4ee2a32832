#include "cluster/exchange.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/error.h"

namespace medfuse::cluster {

MpiGroup::MpiGroup(MPI_Comm comm, std::int64_t largest_message) : comm_(comm), largest_message_(largest_message) {
  if (largest_message < 1 || largest_message > 1 << 30) throw std::logic_error("largest_message must be in [1, 2^30]");
  MEDFUSE_MPI(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
  int size = 0;
  MEDFUSE_MPI(MPI_Comm_rank(comm_, &rank_));
  MEDFUSE_MPI(MPI_Comm_size(comm_, &size));

  std::vector<int> members(static_cast<std::size_t>(size));
  std::iota(members.begin(), members.end(), 0);
  world_ranks_.resize(members.size());
  MPI_Group own, world;
  MEDFUSE_MPI(MPI_Comm_group(comm_, &own));
  MEDFUSE_MPI(MPI_Comm_group(MPI_COMM_WORLD, &world));
  MEDFUSE_MPI(MPI_Group_translate_ranks(own, size, members.data(), world, world_ranks_.data()));
  MPI_Group_free(&own);
  MPI_Group_free(&world);

  int* tag_bound = nullptr;
  int known = 0;
  MEDFUSE_MPI(MPI_Comm_get_attr(comm_, MPI_TAG_UB, &tag_bound, &known));
  if (known) largest_tag_ = *tag_bound;
  sent_.resize(members.size());
  received_.resize(members.size());
}

MpiGroup::~MpiGroup() {
  int ended = 0;
  if (MPI_Finalized(&ended) == MPI_SUCCESS && !ended) MPI_Comm_free(&comm_);
}

int MpiGroup::next_tag() {
  return static_cast<int>(started_++ % (largest_tag_ / 2));
}

int MpiGroup::pair_tag(std::vector<std::int64_t>& counts, int member) const {
  const int first = largest_tag_ / 2;
  return first + static_cast<int>(counts[static_cast<std::size_t>(member)]++ % (largest_tag_ - first));
}

Exchange::Exchange(std::shared_ptr<MpiGroup> group, std::string operation, std::vector<Stage> stages, int tag)
    : group_(std::move(group)), operation_(std::move(operation)), stages_(std::move(stages)), tag_(tag) {}

std::shared_ptr<Exchange> Exchange::start(std::shared_ptr<MpiGroup> group, std::string operation,
                                          std::vector<Stage> stages) {
  const int tag = group->next_tag();
  return start(std::move(group), std::move(operation), std::move(stages), tag);
}

std::shared_ptr<Exchange> Exchange::start(std::shared_ptr<MpiGroup> group, std::string operation,
                                          std::vector<Stage> stages, int tag) {
  auto exchange = std::make_shared<Exchange>(std::move(group), std::move(operation), std::move(stages), tag);
  Progress::instance().add(exchange);
  return exchange;
}

void Exchange::send_by(decltype(&MPI_Isend) post, int member, const void* data, std::int64_t count, MPI_Datatype type) {
  int width = 0;
  MEDFUSE_MPI(MPI_Type_size(type, &width));
  for (std::int64_t begin = 0; begin < count; begin += group_->largest_message()) {
    const int piece = static_cast<int>(std::min(group_->largest_message(), count - begin));
    MPI_Request request;
    MEDFUSE_MPI(post(static_cast<const char*>(data) + begin * width, piece, type, member, tag_, group_->comm(), &request));
    requests_.push_back(request);
    messages_.push_back({member, false, piece, type});
  }
}

void Exchange::receive(int member, void* data, std::int64_t count, MPI_Datatype type) {
  int width = 0;
  MEDFUSE_MPI(MPI_Type_size(type, &width));
  for (std::int64_t begin = 0; begin < count; begin += group_->largest_message()) {
    const int piece = static_cast<int>(std::min(group_->largest_message(), count - begin));
    MPI_Request request;
    MEDFUSE_MPI(MPI_Irecv(static_cast<char*>(data) + begin * width, piece, type, member, tag_, group_->comm(), &request));
    requests_.push_back(request);
    messages_.push_back({member, true, piece, type});
  }
}

void Exchange::wait(std::chrono::milliseconds timeout) {
  Progress::instance().wait(*this, timeout, group_->own_world_rank());
}

bool Exchange::advance() {
  for (;;) {
    if (!requests_.empty()) {
      finished_.resize(requests_.size());
      statuses_.resize(requests_.size());
      int count = 0;
      const int result =
          MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, finished_.data(), statuses_.data());
      if (result != MPI_ERR_IN_STATUS) MEDFUSE_MPI(result);
      if (count == 0) return false;
      if (count != MPI_UNDEFINED) {
        has_moved();
        for (int i = 0; i < count; ++i) {
          check(messages_[static_cast<std::size_t>(finished_[i])], statuses_[i], result == MPI_ERR_IN_STATUS);
        }
        std::size_t kept = 0;
        for (std::size_t i = 0; i < requests_.size(); ++i) {
          if (requests_[i] == MPI_REQUEST_NULL) continue;
          requests_[kept] = requests_[i];
          messages_[kept++] = messages_[i];
        }
        requests_.resize(kept);
        messages_.resize(kept);
      }
      if (!requests_.empty()) return false;
    }
    if (next_stage_ == stages_.size()) {
      stages_.clear();  // lets go of the tensors that the stages hold
      next_stage_ = 0;
      return true;
    }
    stages_[next_stage_++](*this);
  }
}

void Exchange::check(const Message& message, MPI_Status& status, bool has_error) const {
  if (has_error && status.MPI_ERROR != MPI_SUCCESS) {
    int error_class = MPI_SUCCESS;
    MPI_Error_class(status.MPI_ERROR, &error_class);
    if (error_class == MPI_ERR_TRUNCATE) {
      communication_error("rank {} in {}: rank {} sent more than the {} elements expected; the ranks disagree on the size",
                          group_->own_world_rank(), operation_, group_->world_rank(message.member), message.count);
    }
    communication_error("rank {} in {} with rank {}: {}; a peer may be gone, run the command again",
                        group_->own_world_rank(), operation_, group_->world_rank(message.member),
                        mpi_error_text(status.MPI_ERROR));
  }
  if (!message.incoming) return;
  int count = 0;
  MEDFUSE_MPI(MPI_Get_count(&status, message.type, &count));
  if (count != message.count) {
    communication_error("rank {} in {}: rank {} sent {} elements where {} were expected; the ranks disagree on the size",
                        group_->own_world_rank(), operation_, group_->world_rank(message.member), count, message.count);
  }
}

std::vector<int> Exchange::waits_for() const {
  std::set<int> ranks;
  for (const Message& message : messages_) ranks.insert(group_->world_rank(message.member));
  return {ranks.begin(), ranks.end()};
}

Exchange::Stage meet(const std::shared_ptr<MpiGroup>& group) {
  const int n = group->size(), me = group->rank();
  auto tokens = std::make_shared<std::vector<char>>(static_cast<std::size_t>(n));
  return [=](Exchange& e) {
    for_each_other(me, n, [&](int to, int from) {
      e.receive(from, &(*tokens)[static_cast<std::size_t>(from)], 1, MPI_CHAR);
      e.send(to, &(*tokens)[static_cast<std::size_t>(me)], 1, MPI_CHAR);
    });
  };
}

Tree broadcast_tree(int rank, int size, int root) {
  const int place = (rank - root + size) % size;  // the root's place is 0
  Tree tree;
  int reach = 1;  // the lowest set bit of the place, or beyond the size for the root
  while (reach < size && (place & reach) == 0) reach <<= 1;
  if (place != 0) tree.parent = ((place & ~reach) + root) % size;
  for (int step = reach >> 1; step > 0; step >>= 1) {
    if (place + step < size) tree.children.push_back((place + step + root) % size);
  }
  return tree;
}

}  // namespace medfuse::cluster
