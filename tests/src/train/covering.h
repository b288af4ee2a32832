// Which combinations of choices a test tries: all, or a few in which every pair of choices comes up.
#pragma once

#include <cstddef>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

namespace medfuse::train {

/// One number for each factor, from 0 to its size.
using Combination = std::vector<std::size_t>;

inline std::vector<Combination> all_combinations(const std::vector<std::size_t>& sizes) {
  std::vector<Combination> all = {{}};
  for (const std::size_t size : sizes) {
    std::vector<Combination> longer;
    for (const Combination& start : all) {
      for (std::size_t choice = 0; choice < size; ++choice) {
        longer.push_back(start);
        longer.back().push_back(choice);
      }
    }
    all = std::move(longer);
  }
  return all;
}

/// Always the next combination that has most pairs which have not come up yet; so the set is small, not the smallest.
inline std::vector<Combination> pairwise_covering(const std::vector<std::size_t>& sizes) {
  using Pair = std::tuple<std::size_t, std::size_t, std::size_t, std::size_t>;  // factor, choice, factor, choice
  const auto pairs_of = [](const Combination& combination) {
    std::set<Pair> pairs;
    for (std::size_t a = 0; a < combination.size(); ++a) {
      for (std::size_t b = a + 1; b < combination.size(); ++b) pairs.emplace(a, combination[a], b, combination[b]);
    }
    return pairs;
  };
  const std::vector<Combination> all = all_combinations(sizes);
  std::set<Pair> missing;
  for (const Combination& combination : all) missing.merge(pairs_of(combination));
  std::vector<Combination> chosen;
  while (!missing.empty()) {
    const Combination* best = nullptr;
    std::size_t most = 0;
    for (const Combination& combination : all) {
      std::size_t fresh = 0;
      for (const Pair& pair : pairs_of(combination)) fresh += missing.count(pair);
      if (fresh > most) {
        most = fresh;
        best = &combination;
      }
    }
    for (const Pair& pair : pairs_of(*best)) missing.erase(pair);
    chosen.push_back(*best);
  }
  return chosen;
}

}  // namespace medfuse::train
