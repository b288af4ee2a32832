#include "src/train/named_tensor.h"

#include <utility>

#include "src/checkpoint/box.h"

namespace medfuse::train {

checkpoint::ShardedTensor block_of(const NamedTensor& tensor) {
  const at::Tensor local = tensor.tensor.detach();
  if (!tensor.part) return checkpoint::replicated(tensor.name, local);
  const model::ParameterPart& part = *tensor.part;
  return checkpoint::sharded(tensor.name, local, part.dim, part.span.begin, part.span.global);
}

std::vector<checkpoint::ShardedTensor> blocks_of(const NamedTensor& tensor, const parallel::OwnedPart& part) {
  std::vector<checkpoint::ShardedTensor> blocks;
  const auto shape = tensor.tensor.sizes().vec();
  std::int64_t begin = 0;
  for (const auto& box : checkpoint::boxes_of_range(shape, part.range.begin, part.range.end)) {
    auto block = block_of(tensor);
    // Of the whole tensor, of which this one may be a block itself.
    for (std::size_t d = 0; d < shape.size(); ++d) block.offset[d] += box.offset[d];
    const std::int64_t length = checkpoint::volume(box.extent).value();
    block.local = part.value.view({-1}).narrow(0, begin, length).view(box.extent);
    begin += length;
    blocks.push_back(std::move(block));
  }
  return blocks;
}

}  // namespace medfuse::train
