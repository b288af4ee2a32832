// A safetensors file: its header, and every byte of the tensors that it places.
#include "src/weights/mapped_file.h"
#include "src/weights/safetensors_header.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  const auto path = fuzz::write_input("model.safetensors", fuzz::text_of(data, size));
  fuzz::allow_refusal([&] {
    const weights::MappedFile file(path);
    std::uint64_t covered = 0;
    for (const auto& [name, tensor] : weights::read_safetensors_header(file, path)) {
      std::uint64_t elements = 1;
      for (const auto extent : tensor.shape) {
        fuzz::require(extent >= 0, "no extent is negative");
        elements *= static_cast<std::uint64_t>(extent);
      }
      fuzz::require(!weights::safetensors_type_name(tensor.dtype).empty(), "the element type is known");
      fuzz::require(elements <= tensor.bytes || tensor.bytes == 0, "at least a byte for each element");
      fuzz::require(tensor.begin >= 8 && tensor.begin + tensor.bytes <= size, "tensors lie behind the header in the file");
      covered += tensor.bytes;
    }
    fuzz::require(covered + 8 <= size, "tensors do not overlap");
  });
  return 0;
}
