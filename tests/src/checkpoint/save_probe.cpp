// Saves one checkpoint and leaves, as fault_test wants it: save_probe FOLDER STEP waited|background. Exit code as the
// program's: 0, or that of the error, whose line is printed.
#include <fmt/format.h>
#include <torch/types.h>

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "src/checkpoint/background_writer.h"
#include "tests/src/checkpoint/state.h"

int main(int argc, char** argv) {
  using namespace medfuse;
  if (argc != 4) return 2;
  try {
    const std::filesystem::path folder = argv[1];
    const std::int64_t step = std::atoll(argv[2]);
    const auto state = checkpoint::local_state(step, 0, 1);
    if (std::string(argv[3]) == "waited") {
      checkpoint::save(folder, step, state, {}, checkpoint::Team::alone(), {.keep = 1});
    } else {
      checkpoint::BackgroundWriter writer(folder, checkpoint::Team::alone(), {.keep = 1});
      writer.begin(step, state, {});
      writer.finish();
    }
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
