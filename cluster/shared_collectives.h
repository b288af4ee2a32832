// The collectives that ranks of one node do through memory that they share (see shared_exchange.h). Contiguous host
// tensors, checked by the caller; they are kept until the exchange has ended. Reductions are in rank order.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "cluster/communicator.h"
#include "cluster/shared_exchange.h"

namespace medfuse::cluster {

/// Each starts its collective, under that name in messages. See Communicator for what they do.
std::shared_ptr<SharedExchange> shared_all_reduce(const std::shared_ptr<SharedChannel>& channel, std::string operation,
                                                  const at::Tensor& tensor, Reduction reduction);
std::shared_ptr<SharedExchange> shared_all_gather(const std::shared_ptr<SharedChannel>& channel, std::string operation,
                                                  const at::Tensor& output, const at::Tensor& input);
std::shared_ptr<SharedExchange> shared_reduce_scatter(const std::shared_ptr<SharedChannel>& channel,
                                                      std::string operation, const at::Tensor& output,
                                                      const at::Tensor& input, Reduction reduction);

}  // namespace medfuse::cluster
