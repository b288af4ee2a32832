// Who is to blame: made-up standings of ranks, and the line that is made of them.
#include "cluster/standing.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace medfuse::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = Blame::Kind;

Phase step(milliseconds lasted) { return {"step 12 of stage fusion", seconds(10), "timeout.step", lasted, 7}; }
constexpr milliseconds late = seconds(11), in_time = seconds(9);

Standing waiting(std::vector<int> for_ranks, const std::string& operation = "all_reduce", milliseconds lasted = late) {
  return {step(lasted), Pending{operation, std::move(for_ranks), seconds(10)}};
}
Standing working(milliseconds lasted = late) { return {step(lasted), std::nullopt}; }
const std::optional<Standing> silent;

void expect_blame(const Standings& standings, int rank, Kind kind, const std::vector<int>& ranks) {
  const Blame blame = find_blame(standings, rank);
  EXPECT_EQ(blame.kind, kind) << "rank " << rank;
  EXPECT_EQ(blame.ranks, ranks) << "rank " << rank;
}

TEST(Blame, TheStoppedRankAndNotTheOnesThatWaitForIt) {
  // 0 and 1 wait for 2, which is stopped; 3 waits for 1 in a group of its own.
  const Standings standings{waiting({2}), waiting({2}), silent, waiting({1}, "broadcast")};
  for (const int rank : {0, 1, 3}) expect_blame(standings, rank, Kind::silent, {2});
}

TEST(Blame, AlsoThroughRanksThatWaitForOthersInTurn) {
  expect_blame({waiting({1, 2}), waiting({0, 2, 3}), waiting({3}), waiting({4}), silent}, 0, Kind::silent, {4});
}

TEST(Blame, ASilentRankRatherThanOneThatSeemsStuck) {
  // 1 may be in a call of MPI that waits without saying so.
  expect_blame({waiting({1}), working(), silent}, 0, Kind::silent, {2});
  expect_blame({working(), waiting({0}), silent}, 0, Kind::silent, {2});
}

TEST(Blame, ASilentRankForWhichNobodyWaitsIsLeftAlone) {
  expect_blame({waiting({1}), working(in_time), silent}, 0, Kind::busy, {1});
}

TEST(Blame, TheRankThatIsStuckElsewhere) {
  const Standings standings{waiting({2}), waiting({2}), working()};
  for (const int rank : {0, 1, 2}) expect_blame(standings, rank, Kind::stuck, {2});
}

TEST(Blame, ARankWithinItsTimeMayBeWaitedFor) {
  expect_blame({waiting({1}), working(in_time)}, 0, Kind::busy, {1});
  EXPECT_FALSE(find_blame({waiting({1}), working(in_time)}, 0).is_final());
  expect_blame({waiting({1}), Standing{}}, 0, Kind::busy, {1});  // it has no limit
  expect_blame({waiting({1, 2}), working(in_time), working()}, 0, Kind::stuck, {2});
}

TEST(Blame, RanksThatWaitForEachOther) {
  const auto knot = [](milliseconds second) {
    return Standings{waiting({1}, "all_reduce"), waiting({0}, "broadcast", second), working()};
  };
  expect_blame(knot(late), 0, Kind::knotted, {0, 1});
  expect_blame(knot(in_time), 0, Kind::nobody, {});  // it may just be exchanging messages
}

TEST(Blame, WhereNobodyKnowsWhomARankWaitsForItMayBeAnyone) {
  expect_blame({waiting({}), waiting({}), silent}, 0, Kind::silent, {2});
  expect_blame({waiting({}), waiting({}), working()}, 0, Kind::stuck, {2});
  expect_blame({waiting({}), waiting({}), waiting({})}, 1, Kind::knotted, {0, 1, 2});
}

TEST(Blame, NonsenseRanksAreNoHarm) { expect_blame({waiting({-1, 9, 1}), silent}, 0, Kind::silent, {1}); }

const std::vector<std::string> hosts{"node1", "node1", "node2", "node2", "node3"};

std::string line(const Standings& standings, int rank) {
  return blame_line(find_blame(standings, rank), standings, rank, hosts);
}

TEST(BlameLine, NamesTheStoppedRankFirst) {
  EXPECT_EQ(line({waiting({2}), waiting({2}), silent, waiting({1}, "broadcast")}, 3),
            "rank 2 on node2 does not answer: it is stopped, killed or cut off; ranks 0, 1 wait for rank 2 in all_reduce, "
            "rank 3 waits for rank 1 in broadcast; step 12 of stage fusion has lasted 11 s, allowed are 10 s (timeout.step); "
            "look at the node and the network, then run the command again");
}

TEST(BlameLine, NamesNodes) {
  const std::string text = line({waiting({1, 2, 3, 4}), silent, silent, silent, silent}, 0);
  EXPECT_TRUE(text.starts_with("rank 1 on node1 and ranks 2, 3 on node2 and rank 4 on node3 do not answer: they are "))
      << text;
}

TEST(BlameLine, SaysWhatAStuckRankIsAbout) {
  const std::string text = line({waiting({1}), working()}, 0);
  EXPECT_TRUE(text.starts_with("rank 1 on node1 answers and waits for no other rank, in step 12 of stage fusion for 11 s; "
                               "rank 0 waits for rank 1 in all_reduce; ")) << text;
  EXPECT_TRUE(text.ends_with("or raise timeout.step, then run the command again")) << text;
}

TEST(BlameLine, OfOneRankAlone) {
  EXPECT_EQ(line({working()}, 0),
            "step 12 of stage fusion has lasted 11 s, allowed are 10 s (timeout.step); look for what holds it up there (file "
            "system, GPU, memory) or raise timeout.step, then run the command again");
}

TEST(BlameLine, StaysShortWithManyRanks) {
  Standings standings(1000, waiting({7}));
  standings[7].reset();
  for (int r = 100; r < 1000; ++r) standings[static_cast<std::size_t>(r)] = waiting({r - 1}, "receive");
  const std::string text =
      blame_line(find_blame(standings, 999), standings, 999, std::vector<std::string>(1000, "node"));
  EXPECT_TRUE(text.starts_with("rank 7 on node does not answer")) << text;
  EXPECT_NE(text.find("ranks 0, 1, 2, 3, 4, 5, 6, 8 and 91 more wait for rank 7 in all_reduce"), std::string::npos) << text;
  EXPECT_NE(text.find("898 more wait"), std::string::npos) << text;
  EXPECT_LT(text.size(), 600);
}

void expect_same(const Standing& a, const Standing& b) {
  EXPECT_EQ(a.phase.name, b.phase.name);
  EXPECT_EQ(a.phase.allowed, b.phase.allowed);
  EXPECT_EQ(a.phase.option, b.phase.option);
  EXPECT_EQ(a.phase.lasted, b.phase.lasted);
  ASSERT_EQ(a.pending.has_value(), b.pending.has_value());
  if (!a.pending) return;
  EXPECT_EQ(a.pending->operation, b.pending->operation);
  EXPECT_EQ(a.pending->waits_for, b.pending->waits_for);
  EXPECT_EQ(a.pending->waited, b.pending->waited);
}

TEST(StandingText, ComesBack) {
  for (const Standing& standing : {Standing{}, working(), waiting({}), waiting({3}), waiting({0, 17, 4096})}) {
    const auto back = from_text(to_text(standing, 1000));
    ASSERT_TRUE(back);
    expect_same(*back, standing);
  }
}

TEST(StandingText, IsCutToTheLimit) {
  Standing standing = waiting({}, std::string(10000, 'x'));
  standing.phase.name = std::string(10000, 'y');
  for (int r = 0; r < 5000; ++r) standing.pending->waits_for.push_back(r);
  const std::string text = to_text(standing, 999);
  EXPECT_LE(text.size(), 999);
  const auto back = from_text(text);
  ASSERT_TRUE(back);
  EXPECT_GT(back->pending->waits_for.size(), 50);
  EXPECT_EQ(back->pending->waits_for[50], 50);
}

TEST(StandingText, NonsenseIsRefused) {
  for (std::string text : {"", "a", "a|", "a|b|c|d", "a|1|c|2|e|3", "a|1|c|2|e|3|1,x", "a|1|c|2|e|3|1|2"}) {
    std::replace(text.begin(), text.end(), '|', '\x1f');
    EXPECT_FALSE(from_text(text)) << text;
  }
}

}  // namespace
}  // namespace medfuse::cluster
