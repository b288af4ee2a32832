// Ranks as threads: each test function runs once for each rank, and their teams meet in memory.
#pragma once

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "src/checkpoint/team.h"

namespace medfuse::checkpoint {

class ThreadRanks {
 public:
  explicit ThreadRanks(int size) : texts_(static_cast<std::size_t>(size)) {}

  /// Runs `body` on all ranks and returns each one's exception, or nullptr.
  static std::vector<std::exception_ptr> run(int size, const std::function<void(const Team&)>& body) {
    ThreadRanks ranks(size);
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          body({rank, size, [&ranks, rank](const std::string& text) { return ranks.all_gather(rank, text); }});
        } catch (...) {
          errors[static_cast<std::size_t>(rank)] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    return errors;
  }

  /// The same where no rank may fail.
  static void run_well(int size, const std::function<void(const Team&)>& body) {
    for (const std::exception_ptr& error : run(size, body)) {
      if (error) std::rethrow_exception(error);
    }
  }

 private:
  std::vector<std::string> all_gather(int rank, const std::string& text) {
    std::unique_lock lock(mutex_);
    texts_[static_cast<std::size_t>(rank)] = text;
    meet(lock);
    std::vector<std::string> all = texts_;
    meet(lock);  // nobody writes the next text before all have read this one
    return all;
  }

  void meet(std::unique_lock<std::mutex>& lock) {
    const std::size_t round = round_;
    if (++waiting_ == texts_.size()) {
      waiting_ = 0;
      ++round_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return round_ != round; });
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> texts_;
  std::size_t waiting_ = 0;
  std::size_t round_ = 0;
};

}  // namespace medfuse::checkpoint
