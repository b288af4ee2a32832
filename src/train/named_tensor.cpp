#include "src/train/named_tensor.h"

namespace medfuse::train {

checkpoint::ShardedTensor block_of(const std::string& name, const NamedTensor& tensor) {
  const at::Tensor local = tensor.tensor.detach();
  if (!tensor.part) return checkpoint::replicated(name, local);
  const model::ParameterPart& part = *tensor.part;
  return checkpoint::sharded(name, local, part.dim, part.span.begin, part.span.global);
}

}  // namespace medfuse::train
