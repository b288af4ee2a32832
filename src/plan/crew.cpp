#include "src/plan/crew.h"

#include "cluster/mesh.h"

namespace medfuse::plan {

std::int64_t text_groups(const Job& job) {
  if (!job.split()) return job.data();
  const auto& parallel = job.options.parallel;
  return job.data() - cluster::lab_rows(job.data(), parallel.tensor, parallel.lab_ranks);
}

std::vector<Crew> crews(const Job& job, const std::string& stage) {
  const std::int64_t tensor = job.options.parallel.tensor;
  const std::int64_t for_text = text_groups(job), for_labs = job.data() - for_text;
  if (for_labs == 0) return {{.size = job.ranks(), .task = job.data(), .sharing = job.data()}};
  if (stage != "encoders") return {{.size = job.ranks(), .sharing = job.data()}};
  return {{"text", for_text * tensor, true, false, for_text, for_text},
          {"labs", for_labs * tensor, false, true, for_labs * tensor, job.data()}};
}

}  // namespace medfuse::plan
