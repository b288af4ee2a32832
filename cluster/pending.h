// What this rank waits for at this moment, to be asked by a thread that wants to know why it does not get on.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace medfuse::cluster {

struct Pending {
  std::string operation;        ///< "all_reduce of 4096 x f32 among 4 ranks"
  std::vector<int> waits_for;   ///< ranks of the world that have not done their part; empty if nobody can tell
  std::chrono::milliseconds waited{0};
};

/// Something that makes this rank wait for others. It is asked from construction to destruction of its Registration.
class PendingSource {
 public:
  class Registration {
   public:
    explicit Registration(PendingSource& source);
    ~Registration();  ///< returns once nobody asks any more
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;

   private:
    PendingSource& source_;
  };

  /// Nothing: this source makes nobody wait. For any thread; must return soon, whatever hangs.
  virtual std::optional<Pending> pending() = 0;

 protected:
  ~PendingSource() = default;
};

/// What has been waited for longest among all sources.
std::optional<Pending> longest_pending();

/// "rank 2" or "ranks 2, 3", the first few of many; empty if there are none. For messages.
std::string name_ranks(const std::vector<int>& ranks);

}  // namespace medfuse::cluster
