// A shard of packed data whose checksum is right: what a mistake or ill will could write; damage is caught before.
#include "base/checksum.h"
#include "data/packed/reader.h"
#include "tests/fuzz/packed_sample.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace medfuse;
  static data::PackedIndex index = fuzz::write_packed_sample();
  fuzz::write_input(index.shards[0].file, fuzz::text_of(data, size));
  index.shards[0].bytes = size;
  index.shards[0].checksum = checksum(fuzz::text_of(data, size));
  data::write_index(fuzz::folder().path(), index);
  fuzz::allow_refusal([] {
    const data::PackedReader reader(fuzz::folder().path());
    for (std::int64_t i = 0; i < reader.size(); ++i) reader.sample(i);
  });
  return 0;
}
