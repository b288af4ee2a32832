// index.json of packed data whose checksum is right, beside a good shard.
#include "data/packed/reader.h"
#include "tests/fuzz/packed_sample.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  static const data::PackedIndex index = fuzz::write_packed_sample();
  fuzz::write_input("index.json", fuzz::sealed_anew(fuzz::text_of(data, size)));
  fuzz::allow_refusal([] {
    const data::PackedReader reader(fuzz::folder().path());
    for (std::int64_t i = 0; i < reader.size(); ++i) reader.sample(i);
  });
  return 0;
}
