// Passes of a micro-batch through the text encoder (src/model/llama_block.cpp, llama_model.cpp, recompute.cpp).
#pragma once

#include <cstdint>
#include <vector>

#include "src/model/recompute.h"
#include "src/plan/text_ops.h"
#include "src/plan/weight_units.h"

namespace medfuse::plan {

class TextPass {
 public:
  TextPass(Rehearsal& rehearsal, const Job& job, const TextShape& shape, WeightUnits& units);

  /// Last states of `samples` texts; `graph`: for a backward pass.
  void forward(std::int64_t samples, bool graph);
  /// Uses up what the forward pass kept.
  void backward(GradientSink& sink);

 private:
  /// Which parts of a block something is learned in or in front of.
  struct Learning {
    bool input = false;   ///< the block's own input has a gradient
    bool core = false;    ///< queries, keys and values
    bool middle = false;  ///< the state between attention and feed-forward
    bool inner = false;   ///< gate and up
    bool output = false;
  };
  struct AttentionKept {
    Kept norm, rows, query, core, output;
  };
  struct BlockKept {
    AttentionKept attention;
    Kept norm, gate_up, swiglu, down;
    Held attention_input, input;  ///< with recomputation
  };

  Learning learning(std::int64_t block) const;
  ProjectionGroup group(std::int64_t block, std::size_t first, std::size_t count, std::int64_t rows, bool split) const;
  bool is_last(std::int64_t block) const { return block == shape_.blocks - 1; }
  bool split(std::int64_t block) const { return sequence_ && block >= shape_.frozen && !is_last(block); }
  /// Rows of the residual stream on this rank, in front of a block and behind it.
  std::int64_t rows_before(std::int64_t block) const;
  std::int64_t rows_behind(std::int64_t block) const;

  Held attention(const Held& x, std::int64_t block, AttentionKept* kept);
  Held attention_back(Held dy, std::int64_t block, AttentionKept kept, GradientSink& sink);
  Held run(const Held& x, std::int64_t block, BlockKept* kept, model::Recompute mode);
  Held run_back(Held dy, std::int64_t block, BlockKept kept, model::Recompute mode, GradientSink& sink);
  Held frozen_states();

  Rehearsal& r_;
  const TextShape& shape_;
  WeightUnits& units_;
  TextOps ops_;
  model::Recompute mode_;
  bool sequence_;
  bool one_by_one_;  // the frozen blocks take each text alone (text.cache_mib)
  std::int64_t tokens_, compute_, wide_;
  std::int64_t samples_ = 0;
  std::int64_t rows_ = 0;
  std::vector<BlockKept> kept_;  // of the blocks from shape_.frozen on
  Held inputs_, result_;
  Kept shared_;
};

}  // namespace medfuse::plan
