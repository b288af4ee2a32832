// The trainer says what it is about, so that each part can be given its time: loading, first steps, steps, checkpoints.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "tests/src/train/stop_at.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

cluster::Process& process() {
  static cluster::Process instance;
  return instance;
}

TEST(Parts, AreToldInTheOrderOfARun) {
  const auto world = cluster::make_mpi_communicator(process());
  tiny::TempFolder folder;
  tiny::write_data(folder.path());
  const data::PackedReader reader(folder.path());
  const std::filesystem::path checkpoints = process().broadcast(folder.path().string()) + "/checkpoints";
  auto options = tiny::options("f32");
  options.encoders.length.steps = 3;
  options.fusion_stage.length.steps = 2;
  StopAt between_stages(4);  // asked before the first step and behind each
  const auto stopped = tiny::train(options, reader, {*world, *world}, checkpoints, 2, {}, 2, &between_stages);
  ASSERT_EQ(stopped.outcome, Outcome::stopped);
  const auto first = tiny::train(options, reader, {*world, *world}, checkpoints, 2);
  EXPECT_THAT(first.parts,
              ElementsAre(Pair(Part::start, "reading the newest checkpoint"), Pair(Part::start, "beginning stage fusion"),
                          Pair(Part::first_step, "step 1 of stage fusion"), Pair(Part::step, "step 2 of stage fusion"),
                          Pair(Part::save, "saving step 5"), Pair(Part::save, "finishing the last checkpoint")));
  const auto whole = tiny::train(options, reader, {*world, *world}, checkpoints.string() + "-whole", 2);
  EXPECT_THAT(whole.parts,
              ElementsAre(Pair(Part::start, "reading the newest checkpoint"), Pair(Part::start, "beginning stage encoders"),
                          Pair(Part::first_step, "step 1 of stage encoders"), Pair(Part::step, "step 2 of stage encoders"),
                          Pair(Part::save, "saving step 2"), Pair(Part::step, "step 3 of stage encoders"),
                          Pair(Part::save, "saving step 3"), Pair(Part::start, "beginning stage fusion"),
                          Pair(Part::first_step, "step 1 of stage fusion"), Pair(Part::step, "step 2 of stage fusion"),
                          Pair(Part::save, "saving step 5"), Pair(Part::save, "finishing the last checkpoint")));
  process().barrier();
}

}  // namespace
}  // namespace medfuse::train
