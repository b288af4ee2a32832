#include "cluster/job_watch.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>
#include <utility>

#include "base/error.h"
#include "cluster/pending.h"

namespace medfuse::cluster {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto patience = seconds(5);        ///< for answers: a rank that computes on all cores answers late
constexpr auto turn = milliseconds(50);      ///< between the ranks that want to speak
constexpr auto last_resort = seconds(30);    ///< for all that is done to end the job in good order
constexpr auto farewell = seconds(3);        ///< for the one who ends the job
constexpr auto long_wait = seconds(2);       ///< not a usual one, for which ranks of a step wait for each other
constexpr auto told_patience = milliseconds(400);
constexpr auto told_pause = seconds(10);

constexpr int peer_failure = static_cast<int>(ExitCode::communication);

/// Whatever hangs, this process is gone in time.
void leave_after(milliseconds time, int code) {
  try {
    std::thread([time, code] {
      std::this_thread::sleep_for(time);
      std::_Exit(code);
    }).detach();
  } catch (const std::exception&) {  // no thread to be had
    std::_Exit(code);
  }
}

[[noreturn]] void wait_to_be_ended() {
  for (;;) std::this_thread::sleep_for(seconds(1));
}

/// Without the C library's lock on the stream, which a thread that is stuck may hold.
void print_line(const std::string& message) {
  const std::string line = "medfuse: " + message + "\n";
  for (std::size_t done = 0; done < line.size();) {
    const ssize_t more = ::write(STDERR_FILENO, line.data() + done, line.size() - done);
    if (more <= 0) return;
    done += static_cast<std::size_t>(more);
  }
}

}  // namespace

JobWatch::JobWatch(int presumed_rank, milliseconds start_allowed)
    : rank_(presumed_rank),
      launcher_(getppid()),
      mpi_end_key_(MPI_KEYVAL_INVALID),
      watchdog_([this](const Phase& phase) { return over(phase); }, [this] { look(); }) {
  watchdog_.begin("the start of MPI", start_allowed);
}

JobWatch::~JobWatch() {
  int ended = 0;
  if (joined_ && MPI_Finalized(&ended) == MPI_SUCCESS && !ended) MPI_Comm_delete_attr(MPI_COMM_SELF, mpi_end_key_);
  watchdog_.stop();
}

void JobWatch::join(int rank, std::vector<std::string> hosts) {
  rank_ = rank;
  hosts_ = std::move(hosts);
  if (hosts_.size() > 1) {
    MPI_Comm comm;
    MEDFUSE_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &comm));
    const std::lock_guard lock(mutex_);
    inquiry_ = std::make_shared<Inquiry>(comm, [this] { return own(); });
  }
  // Whoever ends MPI, it first lets go of what hangs on MPI_COMM_SELF: then the inquiry must leave MPI.
  const auto end = [](MPI_Comm, int, void* watch, void*) {
    static_cast<JobWatch*>(watch)->mpi_ends();
    return MPI_SUCCESS;
  };
  MEDFUSE_MPI(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, end, &mpi_end_key_, nullptr));
  MEDFUSE_MPI(MPI_Comm_set_attr(MPI_COMM_SELF, mpi_end_key_, this));
  joined_ = true;
  watchdog_.rest();
}

void JobWatch::mpi_ends() {
  const auto asked = inquiry();
  if (!asked) return;
  asked->stop();
  const std::lock_guard lock(mutex_);
  inquiry_.reset();
}

std::shared_ptr<Inquiry> JobWatch::inquiry() {
  const std::lock_guard lock(mutex_);
  return inquiry_;
}

void JobWatch::set_stop_asked(std::function<bool()> stop_asked) {
  const std::lock_guard lock(mutex_);
  stop_asked_ = std::move(stop_asked);
}

bool JobWatch::stop_asked() {
  const std::lock_guard lock(mutex_);
  return stop_asked_ && stop_asked_();
}

Standing JobWatch::own() { return {watchdog_.now(), longest_pending()}; }

bool JobWatch::await_turn(Inquiry* asked, std::optional<std::uint64_t> phase) {
  const auto told = [&] {
    return (asked != nullptr && asked->announced()) || (phase && watchdog_.now().number != *phase);
  };
  const int rank = rank_;
  const auto start = Clock::now();
  // Who cannot be told that another rank has spoken waits for the end which that one brings.
  const auto ahead = asked == nullptr ? patience : seconds(1);
  auto until = rank == 0 ? start : start + ahead + turn * std::min(rank, 64);
  while (Clock::now() < until && !told()) {
    std::this_thread::sleep_for(turn);
    const auto lower = asked == nullptr ? std::nullopt : asked->asked_by_lower();
    if (lower && *lower > start) until = std::max(until, *lower + patience + seconds(1));
  }
  return !told();
}

Standings JobWatch::ask(Inquiry* asked, milliseconds time) const {
  if (asked == nullptr) return {};
  Standings standings = asked->ask(time);
  if (!standings[static_cast<std::size_t>(rank_)]) standings.clear();
  return standings;
}

void JobWatch::claim_end() {
  if (ending_.exchange(true)) wait_to_be_ended();
}

milliseconds JobWatch::over(const Phase& phase) {
  const auto asked = inquiry();
  if (!await_turn(asked.get(), phase.number)) return farewell;
  const Standings standings = ask(asked.get(), patience);
  if (watchdog_.now().number != phase.number) return {};  // it got on meanwhile
  std::string line;
  if (standings.empty()) {
    const std::string place = joined_ && hosts_.size() == 1 ? "" : fmt::format("rank {}: ", rank_.load());
    line = place + blame_line({Blame::Kind::stuck, {0}}, {own()}, 0, {""});
  } else {
    const Blame blame = find_blame(standings, rank_);
    if (!blame.is_final()) return std::max<milliseconds>(seconds(2), phase.allowed / 4);
    line = blame_line(blame, standings, rank_, hosts_);
  }
  claim_end();
  speak_and_end(asked.get(), peer_failure, line);
}

void JobWatch::end_job(int code, const std::string& message) {
  claim_end();
  leave_after(last_resort, code);
  const auto asked = inquiry();
  if (!await_turn(asked.get(), std::nullopt)) wait_to_be_ended();
  std::string line = message;
  const Standings standings = code == peer_failure ? ask(asked.get(), patience) : Standings();
  if (!standings.empty()) {
    Blame blame = find_blame(standings, rank_);
    if (blame.ranks == std::vector<int>{rank_}) {  // it waits for nobody: something else failed, through others perhaps
      blame = {Blame::Kind::silent, {}};
      for (std::size_t r = 0; r < standings.size(); ++r) {
        if (!standings[r]) blame.ranks.push_back(static_cast<int>(r));
      }
    }
    if (!blame.ranks.empty()) line = blame_clause(blame, standings, hosts_) + "; " + line;
  }
  speak_and_end(asked.get(), code, line);
}

void JobWatch::speak_and_end(Inquiry* asked, int code, const std::string& line) {
  leave_after(last_resort, code);
  if (asked != nullptr) {
    asked->announce_end(code, seconds(1));
    if (rank_ > 0) {
      std::this_thread::sleep_for(milliseconds(300));  // for the announcement of a lower rank that has come to the same
      const auto end = asked->announced();
      if (end && end->rank < rank_) wait_to_be_ended();
    }
  }
  print_line(line);
  // Alone there is nobody else to end; while MPI starts or ends it may not be called, and the launcher ends the others.
  if (asked != nullptr) MPI_Abort(MPI_COMM_WORLD, code);
  std::_Exit(code);
}

void JobWatch::look() {
  const auto asked = inquiry();
  if (!asked) return;
  const auto end = asked->announced();
  if (end && !told_to_leave_) {
    told_to_leave_ = true;
    leave_after(farewell, end->code);
  }
  look_for_launcher();
  look_for_unreachable_ranks();
}

void JobWatch::look_for_launcher() {
  if (getppid() == launcher_) return;
  claim_end();
  leave_after(farewell, peer_failure);
  print_line(fmt::format("rank {} on {}: the launcher of this job is gone; run the command again", rank_.load(),
                         hosts_[static_cast<std::size_t>(rank_)]));
  std::_Exit(peer_failure);
}

std::optional<Blame> JobWatch::find_silent(std::uint64_t phase, milliseconds time, std::string& line) {
  const auto asked = inquiry();
  const Standings standings = ask(asked.get(), time);
  if (standings.empty() || watchdog_.now().number != phase) return std::nullopt;
  const Blame blame = find_blame(standings, rank_);
  if (blame.kind != Blame::Kind::silent) return std::nullopt;
  line = blame_line(blame, standings, rank_, hosts_);
  return blame;
}

void JobWatch::look_for_unreachable_ranks() {
  const bool told = stop_asked();
  if (!told && rank_ != 0) return;
  const auto waits = longest_pending();
  if (!waits || waits->waited < long_wait) return;
  const auto phase = watchdog_.now().number;
  if (!told) {  // mpirun that has lost a node kills the others a second after it has told them: rank 0 looks ahead
    if (std::exchange(foreseen_phase_, phase) == phase) return;
    foreseen_line_.clear();
    find_silent(phase, seconds(1), foreseen_line_);
    return;
  }
  if (Clock::now() < next_question_) return;
  next_question_ = Clock::now() + told_pause;
  const auto asked = inquiry();
  if (!await_turn(asked.get(), phase)) return;
  std::string line = foreseen_phase_ == phase ? foreseen_line_ : "";
  if (line.empty() && !find_silent(phase, told_patience, line)) return;
  print_line("told to stop, but " + line);
  // One that only answers late is not missing.
  const auto blame = find_silent(phase, patience, line);
  if (!blame) return;
  claim_end();
  speak_and_end(asked.get(), peer_failure, "no stop is possible without " + name_ranks(blame->ranks));
}

}  // namespace medfuse::cluster
