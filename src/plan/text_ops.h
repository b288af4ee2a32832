// The operations of the text encoder (src/model/lora.cpp, src/ops) on tensors without content: what each makes, what it
// needs while it runs, and what it keeps for the backward pass. On a CPU the kernels of src/ops run, on a GPU compositions
// of LibTorch's operations, which keep more.
#pragma once

#include <cstdint>
#include <vector>

#include "src/plan/rehearsal.h"
#include "src/plan/text_shape.h"

namespace medfuse::plan {

/// What is kept for a backward pass, in any order.
using Kept = std::vector<Held>;

/// Takes the gradient of a parameter, identified by block, projection (0 to 6) and factor (0: A, 1: B).
class GradientSink {
 public:
  virtual ~GradientSink() = default;
  virtual void arrive(std::int64_t block, std::size_t projection, int factor) = 0;
};

/// One or more projections of one input, together a step of the graph.
struct ProjectionGroup {
  std::int64_t block = 0;
  std::size_t first = 0;  ///< number of the first of `items` in its block
  std::vector<Projection> items;
  std::int64_t rows = 0;       ///< of all ranks of the tensor group
  bool rows_split = false;     ///< between the projections each rank has its share of them
  bool adapted() const;
};

class TextOps {
 public:
  TextOps(Rehearsal& rehearsal, const Job& job, const TextShape& shape);

  /// Rows that this rank keeps of `rows` where they are split.
  std::int64_t own(std::int64_t rows) const { return (rows + degree_ - 1) / degree_; }

  /// Forward operations: `kept` null means no graph. Results are labelled `item`.
  Held norm(const Held& x, std::int64_t rows, Item item, Kept* kept);
  std::vector<Held> project(const Held& x, const ProjectionGroup& group, Item item, Kept* kept);
  Held rotate(std::int64_t rows, std::int64_t features, Item item);
  /// Causal attention of `samples` texts, of all their rows (queries = rows) or of the last ones.
  Held attend(const std::vector<Held>& qkv, std::int64_t queries, std::int64_t samples, Kept* kept);
  Held swiglu(const std::vector<Held>& gate_up, std::int64_t rows, Kept* kept);
  Held add(std::int64_t rows, Item item);

  /// Gradients of inputs. What is passed by value is given back on return.
  Held norm_back(Held dy, std::int64_t rows, Kept kept);
  Held project_back(std::vector<Held> dys, const ProjectionGroup& group, bool wants_dx, Kept kept, GradientSink& sink);
  Held rotate_back(Held dy, std::int64_t rows, std::int64_t features);
  std::vector<Held> attend_back(Held dy, std::int64_t queries, std::int64_t rows, std::int64_t samples, Kept kept);
  std::vector<Held> swiglu_back(Held dy, std::int64_t rows, Kept kept);

 private:
  Held make(Item item, std::int64_t rows, std::int64_t features) { return r_.make(item, rows * features, compute_); }
  Held wide(std::int64_t rows, std::int64_t features) { return r_.make(Item::working, rows * features, wide_); }
  /// x in the wide type: a copy only where that is another.
  Held widened(const Held& x, std::int64_t rows, std::int64_t features, Item item);
  Held dropped(const Held& x, std::int64_t rows, std::int64_t features);
  /// What computing a mask takes on a device without the kernel.
  void draw_mask(std::int64_t rows, std::int64_t features);
  /// A factor in the compute type.
  Held cast(std::int64_t elements);
  double whole(std::int64_t rows, std::int64_t features) const;

  Rehearsal& r_;
  std::int64_t compute_, state_, wide_;
  std::int64_t degree_;
  std::int64_t width_, lora_rank_;
  std::int64_t heads_, key_heads_, head_dim_, inner_;
  std::int64_t keys_per_sample_;
  double dropout_;
  bool fused_;
  bool scores_kept_;  // attention without a memory-efficient kernel
};

}  // namespace medfuse::plan
