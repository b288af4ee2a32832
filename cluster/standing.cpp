#include "cluster/standing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

namespace medfuse::cluster {

namespace {

constexpr char separator = '\x1f';
constexpr std::size_t longest_name = 160;  ///< characters, of phases and operations

double seconds(std::chrono::milliseconds time) { return static_cast<double>(time.count()) / 1000; }

std::vector<std::string> fields_of(const std::string& text) {
  std::vector<std::string> fields(1);
  for (const char c : text) {
    if (c == separator) fields.emplace_back();
    else fields.back() += c;
  }
  return fields;
}

template <class T>
bool parse(const std::string& text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

/// "ranks 2, 3 on node7 and rank 4 on node8", the first few of many.
std::string places(const std::vector<int>& ranks, const std::vector<std::string>& hosts) {
  constexpr std::size_t shown = 3;
  std::vector<std::pair<std::string, std::vector<int>>> by_host;
  for (const int rank : ranks) {
    const std::string& host = hosts.at(static_cast<std::size_t>(rank));
    if (by_host.empty() || by_host.back().first != host) by_host.emplace_back(host, std::vector<int>{});
    by_host.back().second.push_back(rank);
  }
  std::string text;
  std::size_t left = ranks.size();
  for (std::size_t i = 0; i < std::min(by_host.size(), shown); ++i) {
    text += (i == 0 ? "" : " and ") + name_ranks(by_host[i].second) + " on " + by_host[i].first;
    left -= by_host[i].second.size();
  }
  return left == 0 ? text : text + fmt::format(" and {} more", left);
}

/// "ranks 0, 1 wait for rank 2 in all_reduce of ...", those who wait for the blamed ones first.
std::string waiting_clause(const Blame& blame, const Standings& standings) {
  constexpr std::size_t shown = 3;
  using Wait = std::pair<std::string, std::vector<int>>;  // operation, for whom
  std::vector<std::pair<Wait, std::vector<int>>> direct, others;
  for (std::size_t r = 0; r < standings.size(); ++r) {
    if (!standings[r] || !standings[r]->pending) continue;
    const Pending& pending = *standings[r]->pending;
    const auto is_blamed = [&](int rank) { return std::binary_search(blame.ranks.begin(), blame.ranks.end(), rank); };
    auto& groups = std::any_of(pending.waits_for.begin(), pending.waits_for.end(), is_blamed) ? direct : others;
    const Wait wait(pending.operation, pending.waits_for);
    auto group = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == wait; });
    if (group == groups.end()) group = groups.insert(group, {wait, {}});
    group->second.push_back(static_cast<int>(r));
  }
  direct.insert(direct.end(), others.begin(), others.end());
  std::string text;
  std::size_t left = 0;
  for (std::size_t i = 0; i < direct.size(); ++i) {
    const auto& [wait, ranks] = direct[i];
    if (i >= shown) {
      left += ranks.size();
      continue;
    }
    text += fmt::format("{}{} wait{}{}{} in {}", i == 0 ? "" : ", ", name_ranks(ranks), ranks.size() == 1 ? "s" : "",
                        wait.second.empty() ? "" : " for ", name_ranks(wait.second), wait.first);
  }
  return left == 0 ? text : text + fmt::format(", {} more wait", left);
}

std::string phase_clause(const Phase& phase) {
  if (phase.name.empty()) return "";
  std::string text = fmt::format("{} has lasted {:.4g} s", phase.name, seconds(phase.lasted));
  if (phase.allowed.count() > 0) {
    text += fmt::format(", allowed are {:.4g} s", seconds(phase.allowed));
    if (!phase.option.empty()) text += fmt::format(" ({})", phase.option);
  }
  return text;
}

std::string advice(Blame::Kind kind, const Phase& phase) {
  switch (kind) {
    case Blame::Kind::silent: return "look at the node and the network, then run the command again";
    case Blame::Kind::knotted: return "run the command again; if it happens again it is a fault of the program";
    default:
      return "look for what holds it up there (file system, GPU, memory)" +
             (phase.option.empty() ? "" : " or raise " + phase.option) + ", then run the command again";
  }
}

}  // namespace

std::string to_text(const Standing& standing, std::size_t limit) {
  const auto cut = [](const std::string& name) { return name.substr(0, longest_name); };
  const Phase& phase = standing.phase;
  std::string text = fmt::format("{1}{0}{2}{0}{3}{0}{4}", separator, cut(phase.name), phase.allowed.count(),
                                 cut(phase.option), phase.lasted.count());
  if (!standing.pending) return text;
  text += fmt::format("{0}{1}{0}{2}{0}", separator, cut(standing.pending->operation), standing.pending->waited.count());
  for (std::size_t i = 0; i < standing.pending->waits_for.size(); ++i) {
    const std::string next = (i == 0 ? "" : ",") + std::to_string(standing.pending->waits_for[i]);
    if (text.size() + next.size() > limit) break;
    text += next;
  }
  return text;
}

std::optional<Standing> from_text(const std::string& text) {
  const std::vector<std::string> fields = fields_of(text);
  if (fields.size() != 4 && fields.size() != 7) return std::nullopt;
  Standing standing;
  standing.phase.name = fields[0];
  standing.phase.option = fields[2];
  std::int64_t allowed = 0, lasted = 0, waited = 0;
  if (!parse(fields[1], allowed) || !parse(fields[3], lasted)) return std::nullopt;
  standing.phase.allowed = std::chrono::milliseconds(allowed);
  standing.phase.lasted = std::chrono::milliseconds(lasted);
  if (fields.size() == 4) return standing;
  if (!parse(fields[5], waited)) return std::nullopt;
  standing.pending.emplace(Pending{fields[4], {}, std::chrono::milliseconds(waited)});
  for (std::size_t begin = 0; begin < fields[6].size();) {
    const std::size_t end = std::min(fields[6].find(',', begin), fields[6].size());
    int rank = 0;
    if (!parse(fields[6].substr(begin, end - begin), rank)) return std::nullopt;
    standing.pending->waits_for.push_back(rank);
    begin = end + 1;
  }
  return standing;
}

Blame find_blame(const Standings& standings, int rank) {
  std::vector<bool> seen(standings.size(), false);
  std::vector<int> to_visit{rank}, silent, idle, waiting;
  bool waits_for_anyone = false;
  const auto take = [&](int r, bool follow) {
    const auto i = static_cast<std::size_t>(r);
    if (i >= standings.size() || seen[i]) return;
    if (!standings[i]) {
      silent.push_back(r);
    } else if (!standings[i]->pending) {
      idle.push_back(r);
    } else {
      waiting.push_back(r);
      const auto& next = standings[i]->pending->waits_for;
      if (next.empty()) waits_for_anyone = true;
      if (follow) to_visit.insert(to_visit.end(), next.begin(), next.end());
    }
    seen[i] = true;
  };
  while (!to_visit.empty()) {
    const int r = to_visit.back();
    to_visit.pop_back();
    take(r, true);
  }
  for (int r = 0; waits_for_anyone && r < static_cast<int>(standings.size()); ++r) take(r, false);

  const auto is_over = [&](int r) { return standings[static_cast<std::size_t>(r)]->phase.is_over(); };
  const auto blame = [](Blame::Kind kind, std::vector<int> ranks) {
    std::sort(ranks.begin(), ranks.end());
    return Blame{kind, std::move(ranks)};
  };
  if (!silent.empty()) return blame(Blame::Kind::silent, silent);
  std::vector<int> stuck;
  std::copy_if(idle.begin(), idle.end(), std::back_inserter(stuck), is_over);
  if (!stuck.empty()) {  // it may also be in a call that waits for others without saying so
    for (int r = 0; r < static_cast<int>(standings.size()); ++r) {
      if (!standings[static_cast<std::size_t>(r)]) silent.push_back(r);
    }
    return silent.empty() ? blame(Blame::Kind::stuck, stuck) : blame(Blame::Kind::silent, silent);
  }
  if (!idle.empty()) return blame(Blame::Kind::busy, idle);
  if (std::all_of(waiting.begin(), waiting.end(), is_over)) return blame(Blame::Kind::knotted, waiting);
  return {};
}

std::string blame_clause(const Blame& blame, const Standings& standings, const std::vector<std::string>& hosts) {
  const bool one = blame.ranks.size() == 1;
  switch (blame.kind) {
    case Blame::Kind::silent:
      return fmt::format("{} {} not answer: {} stopped, killed or cut off", places(blame.ranks, hosts), one ? "does" : "do",
                         one ? "it is" : "they are");
    case Blame::Kind::stuck:
    case Blame::Kind::busy: {
      const Phase& phase = standings[static_cast<std::size_t>(blame.ranks.front())]->phase;
      return fmt::format("{} answer{} and wait{} for no other rank{}", places(blame.ranks, hosts), one ? "s" : "",
                         one ? "s" : "",
                         phase.name.empty() ? "" : fmt::format(", in {} for {:.4g} s", phase.name, seconds(phase.lasted)));
    }
    case Blame::Kind::knotted: return places(blame.ranks, hosts) + " answer and wait for each other";
    case Blame::Kind::nobody: break;
  }
  return "";
}

std::string blame_line(const Blame& blame, const Standings& standings, int rank, const std::vector<std::string>& hosts) {
  const Phase& phase = standings[static_cast<std::size_t>(rank)]->phase;
  // A job of one rank has nobody to compare it with.
  std::vector<std::string> clauses;
  if (standings.size() > 1) clauses = {blame_clause(blame, standings, hosts), waiting_clause(blame, standings)};
  clauses.push_back(phase_clause(phase));
  clauses.push_back(advice(blame.kind, phase));
  std::erase(clauses, "");
  return fmt::format("{}", fmt::join(clauses, "; "));
}

}  // namespace medfuse::cluster
