// Asks the other ranks how they stand, while their programs may be stuck anywhere: a thread of its own on each rank answers,
// over a private MPI communicator. Also how one rank tells the others that it ends the job, and has said why.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "cluster/mpi_calls.h"
#include "cluster/standing.h"

namespace medfuse::cluster {

/// Safe to use from several threads. All MPI calls are made by the one thread, so that nobody else hangs if MPI does.
class Inquiry {
 public:
  using Clock = std::chrono::steady_clock;
  /// How this rank stands; called on the inquiry's thread, must return soon.
  using Own = std::function<Standing()>;

  /// `comm`: of all ranks, used by nobody else, and left to the end of MPI. `own` answers for this rank.
  Inquiry(MPI_Comm comm, Own own);
  ~Inquiry();
  Inquiry(const Inquiry&) = delete;
  Inquiry& operator=(const Inquiry&) = delete;

  /// How all ranks stand, this one included. Returns as soon as all have answered, else after `patience`. Not even this
  /// rank has answered where MPI hangs, or behind stop().
  Standings ask(std::chrono::milliseconds patience);
  /// Tells all that this rank ends the job with this exit code. Returns once the messages are on their way, or after
  /// `patience`.
  void announce_end(int code, std::chrono::milliseconds patience);

  /// The lowest of the other ranks that have announced an end, and its code.
  struct End {
    int rank;
    int code;
  };
  std::optional<End> announced();
  /// When a lower rank than this one has last asked; nothing: never. It may be about to end the job.
  std::optional<Clock::time_point> asked_by_lower();

  /// Before MPI ends: ends the thread. From then on this rank does not answer. Harmless if called again.
  void stop();

 private:
  enum class Kind : int { question, answer, end };
  struct Message {
    Kind kind = Kind::question;
    int number = 0;  ///< of the question, or the exit code
    std::array<char, 1000> text{};  ///< ends with a zero; small enough for MPI to send at once
  };
  struct Sending {
    Message message;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  void run();
  void post_receive();
  void take_incoming();
  void take_orders();
  void send(int to, Kind kind, int number, const std::string& text);
  void forget_sent();

  MPI_Comm comm_;
  Own own_;
  int rank_ = 0, size_ = 0;
  // Of the thread alone:
  std::unique_ptr<Message> incoming_ = std::make_unique<Message>();
  MPI_Request receive_ = MPI_REQUEST_NULL;
  std::unique_ptr<std::list<Sending>> sending_ = std::make_unique<std::list<Sending>>();

  std::mutex mutex_;  ///< guards all that follows
  std::condition_variable wake_, changed_;
  bool stopping_ = false;
  int asked_ = 0, sent_questions_ = 0;  ///< questions, by number
  Standings answers_;                   ///< to the last question
  std::optional<int> end_code_;         ///< to be announced
  bool end_sent_ = false;
  std::optional<End> announced_;
  std::optional<Clock::time_point> asked_by_lower_;
  std::thread thread_;
};

}  // namespace medfuse::cluster
