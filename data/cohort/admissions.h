// The admissions of the cohort: who, when, which split, and which member of the team owns them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/cohort/options.h"
#include "data/cohort/table_scan.h"
#include "data/cohort/team.h"

namespace medfuse::data {

struct Admission {
  std::int64_t id = 0;
  std::int64_t patient = 0;
  std::int64_t time = 0;     ///< of admission, seconds since 1970; 0 unless labs.window_hours is set
  std::string reason;        ///< tables.admissions.text, one line
  Split split = Split::train;
};

/// All admissions in the order of their ids. They are cut into blocks of shard_samples, one per shard; block b belongs
/// to member b modulo count, so that the shards do not depend on the team.
class Admissions {
 public:
  Admissions(const PackOptions& options, const Team& team, ScanContext& context, std::vector<TableCount>& counts);

  std::size_t size() const { return all_.size(); }
  const Admission& operator[](std::size_t i) const { return all_[i]; }
  std::size_t blocks() const { return (all_.size() + block_ - 1) / block_; }
  std::size_t block_begin(std::size_t block) const { return block * block_; }
  std::size_t block_end(std::size_t block) const { return std::min(all_.size(), (block + 1) * block_); }

  /// Position of an id, or -1. Quick for the same id again, as tables are mostly grouped by admission.
  std::int64_t find(std::int64_t id) const;
  /// Position among the admissions of this member, or -1.
  std::int64_t own(std::size_t i) const { return own_[i]; }
  std::size_t owned() const { return owned_; }

  /// Position of the admission that the present row belongs to, from its id cell. -1 if the row is an out-patient's or
  /// bad, which is then counted.
  std::int64_t locate(TableScan& scan, std::string_view id) const;

 private:
  void split(const PackOptions& options, ScanContext& context, std::vector<TableCount>& counts);

  std::vector<Admission> all_;
  std::vector<std::int64_t> own_;
  std::size_t owned_ = 0;
  std::size_t block_ = 1;
  mutable std::int64_t last_id_ = 0, last_found_ = -1;
};

/// Split of a patient by hash: a function of (seed, patient) alone, so that patients who join later move nobody.
Split split_of(std::int64_t patient, std::uint64_t seed, double train, double validation);

/// A path of the configuration: as it stands if that exists, else relative to the tables' folder.
/// Throws Error(data) naming `option` if it is in neither place.
std::filesystem::path configured_file(const std::string& path, const PackOptions& options, const std::string& option);

}  // namespace medfuse::data
