// A configuration file as `medfuse train` reads it; what it writes as the resolved one must mean the same.
#include "launch/option_table.h"
#include "launch/pack_options.h"
#include "launch/train_options.h"
#include "tests/fuzz/input.h"

namespace {

/// The configuration that `path` resolves to.
std::string resolved(const std::filesystem::path& path) {
  medfuse::train::TrainOptions options;
  medfuse::launch::PackSettings pack;
  medfuse::launch::OptionTable table, other;
  add_train_options(table, options);
  add_pack_options(other, pack);
  table.tolerate(other);
  table.parse({}, path);
  std::string text = table.resolved();
  medfuse::fuzz::allow_refusal([&] { medfuse::launch::check_settings(options); });
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  const auto path = fuzz::write_input("run.cfg", fuzz::text_of(data, size));
  fuzz::allow_refusal([&] {
    const std::string first = resolved(path);
    fuzz::require(resolved(fuzz::write_input("resolved.cfg", first)) == first, "a resolved configuration resolves to itself");
  });
  return 0;
}
