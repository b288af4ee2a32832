// A small made-up hospital, written as tables, and a trivial tokenizer: what packing is tried on.
#pragma once

#include <barrier>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "data/cohort/pack.h"
#include "data/packed/reader.h"
#include "tests/base/scratch.h"
#include "tests/data/tables/table_files.h"

namespace medfuse::testing {

/// Bytes are tokens; the special token 256 stands in front.
inline data::TextEncoder byte_encoder() {
  return {[](std::string_view text, bool special) {
            std::vector<std::int32_t> ids;
            if (special) ids.push_back(256);
            for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
            return ids;
          },
          "bytes", "00000000000000aa", 257};
}

inline std::string decode(const data::Sample& sample) {
  std::string text;
  for (std::size_t i = 1; i < sample.tokens.size(); ++i) text += static_cast<char>(sample.tokens[i]);
  return text;
}

/// Contents of the tables; a test changes what it is about, then writes them.
struct Hospital {
  std::string admissions = "HADM_ID,SUBJECT_ID,ADMITTIME,DIAGNOSIS\n";
  std::string notes = "HADM_ID,CATEGORY,ISERROR,TEXT\n";
  std::string labs = "HADM_ID,ITEMID,CHARTTIME,VALUE,VALUENUM,VALUEUOM,FLAG\n";
  std::string diagnoses = "HADM_ID,ICD9_CODE\n";
  std::string items = "ITEMID,LABEL\n7,Lactate\n8,\"Sodium,\nserum\"\n9,Culture\n";
  std::string diseases = "disease,icd9_prefix\ndiabetes,250\nheart_failure,428\nheart_failure,\"402.91\"\n";

  void admit(int id, int patient, const std::string& time = "2150-01-01 12:00:00") {
    admissions += std::to_string(id) + "," + std::to_string(patient) + "," + time + ",\"CHEST PAIN\"\n";
  }
  void note(int id, const std::string& text, const std::string& category = "Discharge summary") {
    notes += std::to_string(id) + "," + category + ",,\"" + text + "\"\n";
  }
  void lab(int id, int item, const std::string& value, const std::string& time = "2150-01-01 13:00:00",
           const std::string& flag = "", const std::string& unit = "mmol/L") {
    const bool number = value.find_first_not_of("0123456789.-") == std::string::npos;
    labs += std::to_string(id) + "," + std::to_string(item) + "," + time + "," + value + "," + (number ? value : "") +
            "," + unit + "," + flag + "\n";
  }
  void diagnose(int id, const std::string& code) { diagnoses += std::to_string(id) + "," + code + "\n"; }

  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    write_plain(folder / "ADMISSIONS.csv", admissions);
    write_gzip(folder / "NOTEEVENTS.csv.gz", notes);
    write_plain(folder / "LABEVENTS.csv", labs);
    write_plain(folder / "DIAGNOSES_ICD.csv", diagnoses);
    write_plain(folder / "D_LABITEMS.csv", items);
    write_plain(folder / "diseases.csv", diseases);
  }

  /// `n` admissions of n / 2 patients with notes, three labs each and some diagnoses; ids from 1000.
  static Hospital with(int n) {
    Hospital h;
    for (int i = 0; i < n; ++i) {
      const int id = 1000 + (i * 7919) % n;  // not in order
      h.admit(id, 1 + id / 2);
      h.note(id, "Chief Complaint:\nfever " + std::to_string(id) + "\n\nHospital Course:\nhidden\n");
      h.lab(id, 7, std::to_string(1 + id % 13), "2150-01-01 13:00:00", id % 3 == 0 ? "abnormal" : "");
      h.lab(id, 8, std::to_string(120 + id % 29));
      if (id % 5 == 0) h.lab(id, 9, "POSITIVE", "2150-01-01 14:00:00", "abnormal", "");
      h.diagnose(id, id % 2 == 0 ? "25000" : "V3001");
      if (id % 4 == 0) h.diagnose(id, "\"428.0\"");
    }
    return h;
  }
};

inline data::PackOptions options_of(const std::filesystem::path& input, const std::filesystem::path& output) {
  data::PackOptions options;
  options.input = input;
  options.output = output;
  options.diseases = "diseases.csv";
  options.max_tokens = 400;
  options.shard_samples = 8;
  return options;
}

/// Packs with `count` members, each a thread. All summaries are returned; the first error is rethrown.
inline std::vector<data::PackSummary> pack_together(const data::PackOptions& options, int count) {
  std::vector<data::PackSummary> summaries(static_cast<std::size_t>(count));
  std::barrier<> gate(count);
  std::mutex mutex;
  std::vector<double> shared;
  std::exception_ptr error;
  const auto reduce = [&](std::vector<double>& values, const std::function<double(double, double)>& op) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (shared.empty()) {
        shared = values;
      } else {
        for (std::size_t i = 0; i < values.size(); ++i) shared[i] = op(shared[i], values[i]);
      }
    }
    gate.arrive_and_wait();
    values = shared;
    gate.arrive_and_wait();
    {
      const std::lock_guard<std::mutex> lock(mutex);
      shared.clear();
    }
    gate.arrive_and_wait();
  };
  std::vector<std::thread> members;
  for (int index = 0; index < count; ++index) {
    members.emplace_back([&, index] {
      data::Team team;
      team.index = index;
      team.count = count;
      team.sum = [&](std::vector<double>& v) { reduce(v, [](double a, double b) { return a + b; }); };
      team.min = [&](std::vector<double>& v) { reduce(v, [](double a, double b) { return std::min(a, b); }); };
      team.max = [&](std::vector<double>& v) { reduce(v, [](double a, double b) { return std::max(a, b); }); };
      team.barrier = [&] { gate.arrive_and_wait(); };
      try {
        summaries[static_cast<std::size_t>(index)] = data::pack(options, byte_encoder(), team);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        error = std::current_exception();
        gate.arrive_and_drop();
      }
    });
  }
  for (std::thread& member : members) member.join();
  if (error) std::rethrow_exception(error);
  return summaries;
}

/// The sample of an admission; fails the test if it is not there.
inline data::Sample sample_of(const data::PackedReader& reader, std::int64_t admission) {
  for (std::int64_t i = 0; i < reader.size(); ++i) {
    if (reader.admissions()[static_cast<std::size_t>(i)] == admission) return reader.sample(i);
  }
  ADD_FAILURE() << "no sample of admission " << admission;
  return {};
}

}  // namespace medfuse::testing
