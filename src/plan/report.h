// A plan in words and tables, for people.
#pragma once

#include <string>
#include <vector>

#include "src/plan/search.h"
#include "src/plan/step.h"

namespace medfuse::plan {

/// What is planned: model, data, machine, mesh.
std::string headline(const Job& job);
/// Memory of a rank by item, a column for each stage.
std::string memory_table(const Job& job, const Plan& plan);
/// Bytes that a rank sends in a step, and how long a step waits for them.
std::string traffic_table(const Job& job, const Plan& plan);
/// The fastest meshes of a search, and why others are not among them.
std::string best_table(const Job& job, const Search& found, std::size_t rows = 8);

/// One line: why a job does not fit, and what would.
std::string refusal(const Job& job, const Plan& plan);

/// `sizes`: numbers of GPUs. Weak: `samples` for each GPU and step; strong: in all.
enum class Scaling { weak, strong };
std::string scaling_table(const Job& job, const std::string& model, Scaling scaling, std::int64_t samples,
                          const std::vector<std::int64_t>& sizes);

}  // namespace medfuse::plan
