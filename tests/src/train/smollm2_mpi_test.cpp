// Training of the real SmolLM2-135M on three tensor ranks against one rank. Skipped where its weights are not there.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "cluster/mpi_communicator.h"
#include "cluster/process.h"
#include "tests/src/train/test_mesh.h"
#include "tests/src/train/tiny_run.h"

namespace medfuse::train {
namespace {

// Nine heads in three parts, one key/value head each. In double precision, so that nothing but an error can show: the
// whole takes 1.1 GB.
TEST(SmolLM2, TrainsInThreePartsAsInOne) {
  static cluster::Process process;
  const auto world = cluster::make_mpi_communicator(process);
  if (world->size() != 3) GTEST_SKIP() << "needs three ranks";
  auto o = tiny::options("f64");
  const char* const given = std::getenv("MEDFUSE_SMOLLM2");
  o.text.model = given != nullptr ? given : ".deps/weights/smollm2-135m";
  if (!std::filesystem::exists(std::filesystem::path(o.text.model) / "config.json")) {
    GTEST_SKIP() << "no SmolLM2-135M in " << o.text.model << ": set MEDFUSE_SMOLLM2 to its Hugging Face folder";
  }
  o.batch = 3;
  o.learning_rate = 1e-3;
  o.adam.epsilon = 1e-5;  // steps are not made of the rounding noise (1e-16) of gradients near zero
  o.encoders.length.steps = 6;
  o.fusion_stage.length.steps = 4;
  const tiny::TempFolder folder;
  tiny::write_data(folder.path());
  const data::PackedReader reader(folder.path());

  tiny::Parameters expected;
  std::vector<double> losses;
  const auto alone = world->split(world->rank(), 0);
  if (world->rank() == 0) {
    const auto run = tiny::train(o, reader, {*alone, *alone}, folder.path() / "alone");
    expected = run.parameters;
    losses = run.losses;
  }
  world->barrier();
  const std::string shared = process.broadcast((folder.path() / "parts").string());
  for (const bool sequence : {false, true}) {
    o.parallel.sequence = sequence;
    Mesh mesh(*world, 3);
    const auto run = tiny::train(o, reader, mesh.ranks(), shared + (sequence ? "_sequence" : ""));
    const auto parameters = tiny::whole(run, mesh.ranks());
    if (expected.empty()) {
      for (const auto& [name, tensor] : parameters) expected.emplace_back(name, at::empty_like(tensor));
      losses.resize(run.losses.size());
    }
    if (!sequence) {
      for (const auto& parameter : expected) world->broadcast(parameter.second, 0)->wait();
      world->broadcast(at::from_blob(losses.data(), {std::ssize(losses)}, at::kDouble), 0)->wait();
    }
    const auto [distance, name] = tiny::distance(parameters, expected, o);
    if (world->rank() == 0) std::printf("largest distance of a parameter: %.2e, %s\n", distance, name.c_str());
    EXPECT_LE(distance, 1e-10) << name << (sequence ? ", sequence" : "");
    ASSERT_EQ(run.losses.size(), 10u);
    for (std::size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(run.losses[i], losses[i], 1e-10) << "step " << i;
  }
}

}  // namespace
}  // namespace medfuse::train
