// Activation recomputation (Chen et al., arXiv 1604.06174): a part of a model keeps its input only, and is run again in
// the backward pass. The result is the same to the last bit; memory is bought with time.
#pragma once

#include <torch/nn/module.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace medfuse::model {

/// What the blocks of a model do not keep for the backward pass: nothing of the kind; what their attention needs (norm,
/// projections and attention proper); or all but the block's input.
enum class Recompute { none, attention, full };

/// Throws Error(usage) for another word than none, attention or full.
Recompute recompute_mode(const std::string& word);

/// A part of a model: its output from its one input that gradients may flow to.
using Part = std::function<at::Tensor(const at::Tensor& x)>;
using Modules = std::vector<std::shared_ptr<torch::nn::Module>>;

/// part(x), and where `wanted`, the graph keeps x alone and runs the part again on the way back.
/// `modules` hold just those parameters that the part uses. They become inputs of one step of the graph: else a first
/// block, whose x needs no gradient, would be cut off, and its parameters would never learn. That step hands on their
/// gradients, so that each is accumulated, and its post-accumulate hook called, once in a backward pass, as without
/// recomputation. (A pre-hook, Tensor::register_hook, would see the inner backward pass as well: use none.)
/// The part must be a function of x, the parameters and what it has captured, which needs no gradient and stays as it
/// is; collectives inside are called again, in an order that is the same on all ranks. Autocast is as it was in the
/// first run. Without gradients to compute (no grad mode, or nothing that needs any) the part is simply run.
/// A backward pass throws std::logic_error if the second run gives another shape or type than the first, or if
/// gradients of gradients are asked for; and c10::Error if x or a parameter was changed in place since the first run.
at::Tensor recompute_if(bool wanted, const Modules& modules, const at::Tensor& x, const Part& part);

}  // namespace medfuse::model
