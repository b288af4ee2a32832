#include "cluster/shared_collectives.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "cluster/reduce_in_order.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace medfuse::cluster {

namespace {

using Channel = std::shared_ptr<SharedChannel>;

/// Bytes that one step reads from another member: beyond that a turn would keep those waiting who want theirs.
constexpr std::int64_t longest_read = 4 << 20;

/// A tensor's memory as one block for each member, of which a round does a piece each. Blocks are of `length` elements,
/// the last ones of an all_reduce of fewer.
struct Blocks {
  at::Tensor tensor;
  std::int64_t length;
  std::int64_t piece;  ///< elements

  /// Blocks that slots of the channel hold `parts` pieces of.
  static Blocks of(const SharedChannel& channel, const at::Tensor& tensor, std::int64_t length, std::int64_t parts) {
    // Whole cache lines where that leaves something, so that two members never write to the same.
    const std::int64_t line = 64;
    std::int64_t bytes = channel.slot_bytes() / parts;
    bytes -= bytes > line ? bytes % line : bytes % static_cast<std::int64_t>(tensor.element_size());
    return {tensor, length, bytes / static_cast<std::int64_t>(tensor.element_size())};
  }
  std::int64_t rounds() const { return (length + piece - 1) / piece; }
  std::int64_t width() const { return static_cast<std::int64_t>(tensor.element_size()); }
  std::int64_t begin(int block, std::int64_t round) const {
    return std::min(std::min((block + 1) * length, block * length + round * piece), tensor.numel());
  }
  char* at(int block, std::int64_t round) const {
    return static_cast<char*>(tensor.mutable_data_ptr()) + begin(block, round) * width();
  }
  std::int64_t count(int block, std::int64_t round) const { return begin(block, round + 1) - begin(block, round); }
  std::size_t bytes(int block, std::int64_t round) const { return static_cast<std::size_t>(count(block, round) * width()); }
  /// Where the slot of a round has the block's piece.
  char* place(char* slot, int block) const { return slot + block * piece * width(); }
};

/// Copies past the caches what would push out all that is in them: nothing is read only to be overwritten. Shorter copies
/// are quicker through them (bench/run.sh).
void copy_own(char* target, const char* source, std::size_t bytes) {
#ifdef __SSE2__
  constexpr std::size_t much = longest_read;
  constexpr std::size_t line = 4 * sizeof(__m128i);
  if (bytes >= much && reinterpret_cast<std::uintptr_t>(target) % sizeof(__m128i) == 0) {
    for (; bytes >= line; bytes -= line, source += line, target += line) {
      const auto* const from = reinterpret_cast<const __m128i*>(source);
      auto* const to = reinterpret_cast<__m128i*>(target);
      for (int i = 0; i < 4; ++i) _mm_stream_si128(to + i, _mm_loadu_si128(from + i));
    }
    _mm_sfence();  // others see it before they see that this step is done
  }
#endif
  std::memcpy(target, source, bytes);
}

template <class F>
void for_others(const SharedChannel& channel, const F& f) {
  for (int r = 0; r < channel.size(); ++r) {
    if (r != channel.rank()) f(r);
  }
}

/// Into own slots what the others reduce.
SharedExchange::Step put_for_others(const Channel& channel, const Blocks& input) {
  return [=](std::int64_t round) {
    char* const slot = channel->slot(channel->rank(), round);
    for_others(*channel, [&](int r) { std::memcpy(input.place(slot, r), input.at(r, round), input.bytes(r, round)); });
  };
}

/// All members' pieces of the own block, reduced in rank order; into `result`.
void reduce_own_block(const SharedChannel& channel, const Blocks& input, std::int64_t round, char* result,
                      Reduction reduction) {
  const int me = channel.rank();
  std::vector<const void*> parts;
  for (int r = 0; r < channel.size(); ++r) {
    parts.push_back(r == me ? input.at(me, round) : input.place(channel.slot(r, round), me));
  }
  reduce_in_order(result, parts, input.count(me, round), input.tensor.scalar_type(), reduction);
}

}  // namespace

std::shared_ptr<SharedExchange> shared_all_reduce(const Channel& channel, std::string operation, const at::Tensor& tensor,
                                                  Reduction reduction) {
  const int n = channel->size(), me = channel->rank();
  const Blocks blocks = Blocks::of(*channel, tensor, (tensor.numel() + n - 1) / n, n);
  const auto reduce = [=](std::int64_t round) {
    reduce_own_block(*channel, blocks, round, blocks.at(me, round), reduction);
    std::memcpy(blocks.place(channel->slot(me, round), me), blocks.at(me, round), blocks.bytes(me, round));
  };
  const auto take = [=](std::int64_t round) {
    for_others(*channel, [&](int r) {
      std::memcpy(blocks.at(r, round), blocks.place(channel->slot(r, round), r), blocks.bytes(r, round));
    });
  };
  return SharedExchange::start(channel, std::move(operation), blocks.rounds(),
                               {put_for_others(channel, blocks), reduce, take});
}

std::shared_ptr<SharedExchange> shared_reduce_scatter(const Channel& channel, std::string operation,
                                                      const at::Tensor& output, const at::Tensor& input,
                                                      Reduction reduction) {
  const Blocks from = Blocks::of(*channel, input, output.numel(), channel->size());
  const Blocks to{output, output.numel(), from.piece};
  const auto reduce = [=](std::int64_t round) {
    reduce_own_block(*channel, from, round, to.at(0, round), reduction);
  };
  return SharedExchange::start(channel, std::move(operation), from.rounds(), {put_for_others(channel, from), reduce});
}

std::shared_ptr<SharedExchange> shared_all_gather(const Channel& channel, std::string operation, const at::Tensor& output,
                                                  const at::Tensor& input) {
  const int me = channel->rank();
  Blocks from = Blocks::of(*channel, input, input.numel(), 1);
  if (channel->readable()) from.piece = longest_read / from.width();  // no slot is needed on the way
  const Blocks to{output, input.numel(), from.piece};
  const auto keep_own = [=](std::int64_t round) {
    // Of an all_gather in place the input is a block of the output.
    if (to.at(me, round) != from.at(0, round)) copy_own(to.at(me, round), from.at(0, round), from.bytes(0, round));
  };
  if (channel->readable()) {
    const auto read = [=](std::int64_t round) {
      // The own part last: a few per cent quicker from 4 MiB on (docs/benchmarks.md).
      for_others(*channel, [&](int r) {
        channel->read_offered(r, to.at(r, round), from.begin(0, round) * from.width(), to.bytes(r, round));
      });
      keep_own(round);
    };
    const auto offer = [=](std::int64_t) { channel->offer(input.const_data_ptr()); };
    const auto leave = [](std::int64_t) {};  // the input may change once all have read it
    return SharedExchange::start(channel, std::move(operation), from.rounds(), {offer, read, leave});
  }
  const auto put = [=](std::int64_t round) {
    std::memcpy(channel->slot(me, round), from.at(0, round), from.bytes(0, round));
    keep_own(round);
  };
  const auto take = [=](std::int64_t round) {
    for_others(*channel, [&](int r) { std::memcpy(to.at(r, round), channel->slot(r, round), to.bytes(r, round)); });
  };
  return SharedExchange::start(channel, std::move(operation), from.rounds(), {put, take});
}

}  // namespace medfuse::cluster
