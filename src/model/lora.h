// Low-rank adaptation (Hu et al., arXiv 2106.09685) of frozen linear layers, and where it is put.
#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "src/model/options.h"
#include "src/model/row_share.h"
#include "src/model/tensor_parallel.h"
#include "src/ops/dropout.h"

namespace medfuse::model {

/// Numbers of the blocks that `layers` ("all", "last:N", "0-3,28") names among `count`, sorted.
/// Throws Error(usage) naming text.lora_layers.
std::vector<std::int64_t> parse_lora_layers(const std::string& layers, std::int64_t count);

/// Throws Error(usage) naming text.lora_targets unless every name is a projection of a Llama block, named once.
void check_lora_targets(const std::vector<std::string>& targets);

/// Where a projection's adapter stands: what its first values and its dropout masks hang on.
struct LoraPlace {
  std::uint64_t seed = 0;
  std::string name;  ///< full prefix of the parameters, e.g. "model.layers.0.self_attn.q_proj"
  std::int64_t layer = 0;
  ops::Site site = ops::Site::query;
};

/// Which share of a projection this rank holds. `span` is of the outputs (column) or the inputs (row).
struct LoraShare {
  TensorParallelPtr ranks = no_tensor_parallel();
  Split split = Split::none;
  Span span;
  /// Neighbouring ranks that hold the very same share (a key/value head that they have in common), this one counted.
  int copies = 1;
};

/// y = W x + (alpha / rank) B A dropout(x), without biases; W is frozen and a buffer, so that parameters() holds A and B
/// only. Registered as weight, lora_A.weight [R, I], lora_B.weight [O, R], the names of PEFT. A and B are kept in
/// float32 (float64 beside a float64 W) and cast to x's type at use.
///
/// Split over ranks, column: A is replicated and B is split as W's rows are; row: A is split as W's columns are and B is
/// replicated. The backward pass completes the gradients of what is replicated, so that after it every copy has the same.
class LoraLinear : public torch::nn::Module {
 public:
  /// Without an adapter. `weight_OI`: this rank's share.
  explicit LoraLinear(at::Tensor weight_OI, LoraShare share = {});
  /// A is uniform in +-1 / sqrt(I) of the whole projection, a function of place.seed and place.name; B is 0.
  LoraLinear(at::Tensor weight_OI, const LoraOptions& lora, const LoraPlace& place, LoraShare share = {});

  /// x: [..., I], dropout keys as for ops::dropout. Result [..., O]: this rank's share of either where it is split.
  /// Collective over the ranks that share it: row in the forward pass, both in the backward pass.
  at::Tensor forward(const at::Tensor& x, const ops::DropoutKeys& keys);

  bool adapted() const { return lora_A_.defined(); }
  const at::Tensor& weight() const { return weight_; }
  const at::Tensor& lora_A() const { return lora_A_; }  ///< undefined without an adapter
  const at::Tensor& lora_B() const { return lora_B_; }
  double scale() const { return scale_; }  ///< alpha / rank
  const LoraShare& share() const { return share_; }
  /// W + (alpha / rank) B A, in the type of W; W itself where there is no adapter. Of this rank's share.
  at::Tensor merged() const;

 private:
  at::Tensor weight_;
  at::Tensor lora_A_;
  at::Tensor lora_B_;
  double scale_ = 0;
  double dropout_ = 0;
  std::int64_t layer_ = 0;
  ops::Site site_ = ops::Site::query;
  LoraShare share_;

  friend std::vector<at::Tensor> project(const at::Tensor&, const std::vector<LoraLinear*>&, const ops::DropoutKeys&,
                                         const RowShare&);
};

/// Outputs of several projections of one input x [T, I], each [T, O]. One step of the graph for all: their gradients by x
/// are summed inside the matrix products, and nothing of the size of x is kept beside x itself. All are split alike.
/// Where `rows` are split, x of column-parallel projections and the results of row-parallel ones are this rank's rows
/// only. `keys` belong to the rows of x.
std::vector<at::Tensor> project(const at::Tensor& x, const std::vector<LoraLinear*>& projections,
                                const ops::DropoutKeys& keys, const RowShare& rows = {});

/// Parameters of the LoraLinears inside `module` of which this rank holds a part only, by the names of module.named_parameters().
std::map<std::string, ParameterPart> split_parameters(const torch::nn::Module& module);

}  // namespace medfuse::model
