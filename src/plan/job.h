// What is planned: a training run's options, the sizes that its data and model give, and the ranks of a machine.
#pragma once

#include <cstdint>
#include <vector>

#include "src/plan/links.h"
#include "src/plan/machine.h"
#include "src/train/options.h"
#include "src/weights/hf_config.h"

namespace medfuse::plan {

struct Job {
  train::TrainOptions options;
  weights::LlamaConfig llama;     ///< of the text encoder
  std::int64_t tokens = 512;      ///< of each text: a plan takes all to be of one length
  std::int64_t lab_columns = 64;
  std::int64_t diseases = 10;
  Machine machine;
  std::int64_t nodes = 1;
  std::int64_t per_node = 1;      ///< ranks

  Placement placement() const { return {nodes, per_node, options.parallel.tensor}; }
  std::int64_t ranks() const { return nodes * per_node; }
  std::int64_t data() const { return placement().data(); }
  /// Ranks among which tensor groups must find a place: those of a node, or all.
  std::int64_t tensor_room() const { return options.parallel.across_nodes ? ranks() : per_node; }

  std::int64_t compute_bytes() const;  ///< of an element of the text encoder's weights and states
  std::int64_t state_bytes() const;    ///< of one of the adapters, small models, moments and gradients
  std::int64_t wide_bytes() const;     ///< of what norms and functions are computed in
  std::int64_t wire_bytes() const;     ///< of a gradient that travels
  double flops() const;                ///< attainable by a rank in products, FLOP/s

  bool split() const { return options.parallel.layout == "split"; }
  bool has_encoders() const;  ///< whether there is an encoder stage, which is the one that a layout divides
  std::int64_t lab_batch() const;  ///< samples of a step of the lab transformer
};

/// Samples of a step, on the rank that has most of them.
struct Portion {
  std::int64_t samples = 1;
  std::int64_t micro = 1;   ///< of them in its largest micro-batch
  std::int64_t passes = 1;  ///< its micro-batches
  std::int64_t last() const { return samples - (passes - 1) * micro; }  ///< in the last one
};

/// Of options.batch samples that so many ranks, or tensor groups, divide.
Portion portion(const Job& job, std::int64_t ranks);

/// Tensor degrees whose groups fit into a node, or into the world where parallel.across_nodes lets them, rising; up to one
/// attention head a rank.
std::vector<std::int64_t> fitting_degrees(const Job& job);

/// Throws Error(usage) naming the option for a mesh that cannot be, as `medfuse train` would.
void check(const Job& job);

}  // namespace medfuse::plan
