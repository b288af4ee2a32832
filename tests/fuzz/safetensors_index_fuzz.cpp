// model.safetensors.index.json.
#include "src/weights/safetensors_index.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  const auto path = fuzz::write_input("model.safetensors.index.json", fuzz::text_of(data, size));
  fuzz::allow_refusal([&] {
    for (const auto& [tensor, file] : weights::read_safetensors_index(path)) {
      fuzz::require((path.parent_path() / file).lexically_normal().parent_path() == path.parent_path(),
                    "no file lies outside the folder");
    }
  });
  return 0;
}
