#include "cluster/process.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <type_traits>

#include "base/error.h"
#include "cluster/exchange.h"
#include "cluster/job_watch.h"
#include "cluster/mpi_reach.h"

namespace medfuse::cluster {

namespace {

constexpr std::int64_t largest_control_message = 1 << 28;

/// Whoever ends MPI, it first lets go of what hangs on MPI_COMM_SELF: then the progress thread must leave MPI.
void stop_progress_before_mpi_ends() {
  const auto stop = [](MPI_Comm, int, void*, void*) {
    Progress::instance().stop();
    return MPI_SUCCESS;
  };
  int key = MPI_KEYVAL_INVALID;
  MEDFUSE_MPI(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, stop, &key, nullptr));
  MEDFUSE_MPI(MPI_Comm_set_attr(MPI_COMM_SELF, key, nullptr));
  MEDFUSE_MPI(MPI_Comm_free_keyval(&key));
}

/// Sizes and contents of texts under way; shared with the exchange, which may outlive a wait that timed out.
struct Texts {
  std::string own;
  std::int64_t own_length = 0;
  std::vector<std::int64_t> lengths;
  std::vector<std::string> all;
};

}  // namespace

Process::Process(int* argc, char*** argv, const ProcessLimits& limits)
    : limits_(limits), watch_(std::make_unique<JobWatch>(launch_.rank, limits.start)) {
  int running = 0;
  MEDFUSE_MPI(MPI_Initialized(&running));
  int provided = MPI_THREAD_SINGLE;
  if (running) {
    MEDFUSE_MPI(MPI_Query_thread(&provided));
  } else {
    prepare_lone_start(launch_);
    MEDFUSE_MPI(MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided));
    started_here_ = true;
  }
  if (provided < MPI_THREAD_MULTIPLE) {
    communication_error("this MPI library gives no MPI_THREAD_MULTIPLE: use an Open MPI built with thread support");
  }
  MEDFUSE_MPI(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  MEDFUSE_MPI(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));

  MPI_Comm control;
  MEDFUSE_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &control));
  control_ = std::make_shared<MpiGroup>(control, largest_control_message);
  rank_ = control_->rank();
  size_ = control_->size();

  MPI_Comm node;
  MEDFUSE_MPI(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node));
  MEDFUSE_MPI(MPI_Comm_rank(node, &local_rank_));
  MEDFUSE_MPI(MPI_Comm_size(node, &local_size_));
  MEDFUSE_MPI(MPI_Comm_free(&node));

  stop_progress_before_mpi_ends();
  Progress::instance().set_background(true);

  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  MEDFUSE_MPI(MPI_Get_processor_name(name, &length));
  hosts_ = all_gather(std::string(name, static_cast<std::size_t>(length)));
  watch_->join(rank_, hosts_);
}

Process::~Process() {
  if (std::uncaught_exceptions() > 0 && size_ > 1 && !leaving_together_) {
    MPI_Abort(MPI_COMM_WORLD, static_cast<int>(ExitCode::communication));
  }
  if (!started_here_) return;
  // Who has left MPI answers nobody any more, so all leave together. One that still has work may take its time.
  watch_->watchdog().begin("the end of the job", limits_.end);
  try {
    Exchange::start(control_, "the end of the job", {meet(control_)})->wait(no_limit);
  } catch (const Error& error) {
    watch_->end_job(static_cast<int>(error.code()), error.what());
  }
  watch_->watchdog().begin("the end of MPI", limits_.end);
  Progress::instance().stop();
  control_.reset();
  MPI_Finalize();
}

std::string Process::broadcast(const std::string& text, int root) {
  if (root < 0 || root >= size_) throw std::logic_error("broadcast: no such root");
  if (size_ == 1) return text;
  const Tree tree = broadcast_tree(rank_, size_, root);
  auto texts = std::make_shared<Texts>();
  if (rank_ == root) texts->own = text;
  texts->own_length = static_cast<std::int64_t>(texts->own.size());
  Exchange::start(control_, "broadcast of a text", {
    [=](Exchange& e) {
      if (tree.parent >= 0) e.receive(tree.parent, &texts->own_length, 1, MPI_INT64_T);
    },
    [=](Exchange& e) {
      for (const int child : tree.children) e.send(child, &texts->own_length, 1, MPI_INT64_T);
      texts->own.resize(static_cast<std::size_t>(texts->own_length));
      if (tree.parent >= 0) e.receive(tree.parent, texts->own.data(), texts->own_length, MPI_CHAR);
    },
    [=](Exchange& e) {
      for (const int child : tree.children) e.send(child, texts->own.data(), texts->own_length, MPI_CHAR);
    }})->wait(timeout_);
  return std::move(texts->own);
}

std::vector<std::string> Process::gather(const std::string& text, int root) {
  if (root < 0 || root >= size_) throw std::logic_error("gather: no such root");
  const int n = size_, me = rank_;  // copies for the stages, which may outlive this object
  auto texts = std::make_shared<Texts>();
  texts->own = text;
  texts->own_length = static_cast<std::int64_t>(text.size());
  if (rank_ == root) {
    texts->lengths.resize(static_cast<std::size_t>(size_));
    texts->all.resize(static_cast<std::size_t>(size_));
  }
  Exchange::start(control_, "gather of texts", {
    [=](Exchange& e) {
      if (me != root) return e.send(root, &texts->own_length, 1, MPI_INT64_T);
      for (int r = 0; r < n; ++r) {
        if (r != root) e.receive(r, &texts->lengths[static_cast<std::size_t>(r)], 1, MPI_INT64_T);
      }
    },
    [=](Exchange& e) {
      if (me != root) return e.send(root, texts->own.data(), texts->own_length, MPI_CHAR);
      for (std::size_t r = 0; r < texts->all.size(); ++r) {
        if (static_cast<int>(r) == root) continue;
        texts->all[r].resize(static_cast<std::size_t>(texts->lengths[r]));
        e.receive(static_cast<int>(r), texts->all[r].data(), texts->lengths[r], MPI_CHAR);
      }
    }})->wait(timeout_);
  if (rank_ == root) texts->all[static_cast<std::size_t>(root)] = std::move(texts->own);
  return std::move(texts->all);
}

std::vector<std::string> Process::all_gather(const std::string& text) {
  const int n = size_, me = rank_;  // copies for the stages, which may outlive this object
  auto texts = std::make_shared<Texts>();
  texts->own = text;
  texts->own_length = static_cast<std::int64_t>(text.size());
  texts->lengths.resize(static_cast<std::size_t>(size_));
  texts->all.resize(static_cast<std::size_t>(size_));
  Exchange::start(control_, "all_gather of texts", {
    [=](Exchange& e) {
      for_each_other(me, n, [&](int to, int from) {
        e.receive(from, &texts->lengths[static_cast<std::size_t>(from)], 1, MPI_INT64_T);
        e.send(to, &texts->own_length, 1, MPI_INT64_T);
      });
    },
    [=](Exchange& e) {
      for_each_other(me, n, [&](int to, int from) {
        std::string& other = texts->all[static_cast<std::size_t>(from)];
        other.resize(static_cast<std::size_t>(texts->lengths[static_cast<std::size_t>(from)]));
        e.receive(from, other.data(), static_cast<std::int64_t>(other.size()), MPI_CHAR);
        e.send(to, texts->own.data(), texts->own_length, MPI_CHAR);
      });
    }})->wait(timeout_);
  texts->all[static_cast<std::size_t>(rank_)] = std::move(texts->own);
  return std::move(texts->all);
}

template <class T>
std::vector<T> Process::reduce(const std::vector<T>& values, Combine combine) {
  const MPI_Datatype type = std::is_same_v<T, double> ? MPI_DOUBLE : MPI_INT64_T;
  const std::size_t count = values.size();
  const int n = size_, me = rank_;  // copies for the stage, which may outlive this object
  auto all = std::make_shared<std::vector<T>>(count * static_cast<std::size_t>(size_));
  T* own = all->data() + count * static_cast<std::size_t>(rank_);
  std::copy(values.begin(), values.end(), own);
  const std::string operation = fmt::format("all_reduce of {} control values", count);
  Exchange::start(control_, operation, {[=](Exchange& e) {
    for_each_other(me, n, [&](int to, int from) {
      e.receive(from, all->data() + count * static_cast<std::size_t>(from), static_cast<std::int64_t>(count), type);
      e.send(to, own, static_cast<std::int64_t>(count), type);
    });
  }})->wait(timeout_);
  std::vector<T> result(all->begin(), all->begin() + static_cast<std::ptrdiff_t>(count));
  for (std::size_t r = 1; r < static_cast<std::size_t>(size_); ++r) {
    for (std::size_t i = 0; i < count; ++i) {
      const T other = (*all)[r * count + i];
      switch (combine) {
        case Combine::sum: result[i] += other; break;
        case Combine::min: result[i] = std::min(result[i], other); break;
        case Combine::max: result[i] = std::max(result[i], other); break;
      }
    }
  }
  return result;
}

std::vector<double> Process::all_reduce(const std::vector<double>& values, Combine combine) {
  return reduce(values, combine);
}

std::vector<std::int64_t> Process::all_reduce(const std::vector<std::int64_t>& values, Combine combine) {
  return reduce(values, combine);
}

void Process::barrier() {
  Exchange::start(control_, "barrier", {meet(control_)})->wait(timeout_);
}

}  // namespace medfuse::cluster
