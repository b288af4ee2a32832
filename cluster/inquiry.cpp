#include "cluster/inquiry.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/without_signals.h"

namespace medfuse::cluster {

namespace {

/// Between looks for messages: an answer may take that long, and MPI is hardly disturbed.
constexpr auto look = std::chrono::milliseconds(50);

}  // namespace

Inquiry::Inquiry(MPI_Comm comm, Own own) : comm_(comm), own_(std::move(own)) {
  MEDFUSE_MPI(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
  MEDFUSE_MPI(MPI_Comm_rank(comm_, &rank_));
  MEDFUSE_MPI(MPI_Comm_size(comm_, &size_));
  const WithoutSignals inherited;
  thread_ = std::thread([this] { run(); });
}

Inquiry::~Inquiry() {
  stop();
  // What MPI may still read or write stays: messages to ranks that are gone never go out.
  if (receive_ != MPI_REQUEST_NULL) static_cast<void>(incoming_.release());
  if (!sending_->empty()) static_cast<void>(sending_.release());
}

Standings Inquiry::ask(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  const int number = ++asked_;
  answers_.assign(static_cast<std::size_t>(size_), std::nullopt);
  wake_.notify_all();
  const auto all_here = [&] {
    return stopping_ || number != asked_ ||
           std::all_of(answers_.begin(), answers_.end(), [](const auto& answer) { return answer.has_value(); });
  };
  changed_.wait_for(lock, patience, all_here);
  return answers_;
}

void Inquiry::announce_end(int code, std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  end_code_ = code;
  wake_.notify_all();
  changed_.wait_for(lock, patience, [this] { return stopping_ || end_sent_; });
}

std::optional<Inquiry::End> Inquiry::announced() {
  const std::lock_guard lock(mutex_);
  return announced_;
}

std::optional<Inquiry::Clock::time_point> Inquiry::asked_by_lower() {
  const std::lock_guard lock(mutex_);
  return asked_by_lower_;
}

void Inquiry::run() {
  // A failing MPI leaves this rank without answers, which the others notice; it must not end the program by itself.
  try {
    post_receive();
    for (;;) {
      take_incoming();
      take_orders();
      forget_sent();
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, look, [this] { return stopping_ || sent_questions_ != asked_ || (end_code_ && !end_sent_); });
      if (stopping_) break;
    }
    MEDFUSE_MPI(MPI_Cancel(&receive_));
    MEDFUSE_MPI(MPI_Wait(&receive_, MPI_STATUS_IGNORE));
  } catch (const Error&) {
  }
}

void Inquiry::post_receive() {
  MEDFUSE_MPI(MPI_Irecv(incoming_.get(), sizeof(Message), MPI_BYTE, MPI_ANY_SOURCE, 0, comm_, &receive_));
}

void Inquiry::take_incoming() {
  for (;;) {
    int here = 0;
    MPI_Status status;
    MEDFUSE_MPI(MPI_Test(&receive_, &here, &status));
    if (!here) return;
    const Message message = *incoming_;
    const int from = status.MPI_SOURCE;
    post_receive();
    if (message.kind == Kind::question) {
      if (from < rank_) {
        const std::lock_guard lock(mutex_);
        asked_by_lower_ = Clock::now();
      }
      send(from, Kind::answer, message.number, to_text(own_(), message.text.size() - 1));
      continue;
    }
    const std::lock_guard lock(mutex_);
    if (message.kind == Kind::end) {
      if (!announced_ || from < announced_->rank) announced_ = End{from, message.number};
    } else if (message.number == asked_) {
      answers_[static_cast<std::size_t>(from)] = from_text(message.text.data());
    }
    changed_.notify_all();
  }
}

void Inquiry::take_orders() {
  int question = 0;
  std::optional<int> end;
  {
    const std::lock_guard lock(mutex_);
    if (sent_questions_ != asked_) question = sent_questions_ = asked_;
    if (!end_sent_) end = end_code_;
  }
  const auto to_all = [&](Kind kind, int number) {
    for (int r = 0; r < size_; ++r) {
      if (r != rank_) send(r, kind, number, "");
    }
  };
  if (question != 0) {
    to_all(Kind::question, question);
    const Standing own = own_();
    const std::lock_guard lock(mutex_);
    answers_[static_cast<std::size_t>(rank_)] = own;
    changed_.notify_all();
  }
  if (end) {
    to_all(Kind::end, *end);
    const std::lock_guard lock(mutex_);
    end_sent_ = true;
    changed_.notify_all();
  }
}

void Inquiry::send(int to, Kind kind, int number, const std::string& text) {
  Sending& sending = sending_->emplace_back();
  sending.message.kind = kind;
  sending.message.number = number;
  std::memcpy(sending.message.text.data(), text.data(), std::min(text.size(), sending.message.text.size() - 1));
  MEDFUSE_MPI(MPI_Isend(&sending.message, sizeof(Message), MPI_BYTE, to, 0, comm_, &sending.request));
}

void Inquiry::forget_sent() {
  for (auto sending = sending_->begin(); sending != sending_->end();) {
    int gone = 0;
    MEDFUSE_MPI(MPI_Test(&sending->request, &gone, MPI_STATUS_IGNORE));
    sending = gone ? sending_->erase(sending) : std::next(sending);
  }
}

void Inquiry::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace medfuse::cluster
