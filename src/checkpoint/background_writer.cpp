#include "src/checkpoint/background_writer.h"

#include <chrono>
#include <utility>

#include "base/background.h"
#include "src/checkpoint/write_steps.h"

namespace medfuse::checkpoint {

BackgroundWriter::BackgroundWriter(std::filesystem::path folder, Team team, Retention retention)
    : folder_(std::move(folder)), team_(std::move(team)), retention_(retention) {}

void BackgroundWriter::begin(const std::function<Snapshot(Snapshot used)>& take) {
  finish();
  snapshot_ = take(std::move(snapshot_));
  gather_or_throw(team_, [&] {
    if (team_.rank == 0) begin_writing(folder_, snapshot_.step);
    return std::string();
  });
  phase_ = Phase::parts;
  work_ = in_background([this] { return write_part(folder_, snapshot_, team_.rank); });
}

bool BackgroundWriter::ready() const {
  return !work_.valid() || work_.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

std::optional<SaveReport> BackgroundWriter::advance() {
  std::vector<std::string> results;
  try {
    results = gather_or_throw(team_, [this] { return work_.valid() ? work_.get() : std::string(); });
  } catch (...) {
    phase_ = Phase::idle;
    if (team_.rank == 0) discard(folder_, snapshot_.step);  // nobody writes any more: all have come here
    throw;
  }
  if (phase_ == Phase::parts) {
    phase_ = Phase::completion;
    if (team_.rank == 0) {
      work_ = in_background([this, records = std::move(results)] { return complete(folder_, snapshot_, records, retention_); });
    }
    return std::nullopt;
  }
  phase_ = Phase::idle;
  return report_from_text(folder_, results.front());
}

std::optional<SaveReport> BackgroundWriter::finish() {
  std::optional<SaveReport> report;
  while (active()) report = advance();
  return report;
}

}  // namespace medfuse::checkpoint
