#include "src/plan/text_pass.h"

#include <algorithm>
#include <utility>

namespace medfuse::plan {

using model::Recompute;

namespace {

bool any(const std::vector<Projection>& block, std::size_t first, std::size_t count) {
  return std::any_of(block.begin() + static_cast<std::ptrdiff_t>(first),
                     block.begin() + static_cast<std::ptrdiff_t>(first + count),
                     [](const Projection& p) { return p.adapted; });
}

}  // namespace

TextPass::TextPass(Rehearsal& rehearsal, const Job& job, const TextShape& shape, WeightUnits& units)
    : r_(rehearsal),
      shape_(shape),
      units_(units),
      ops_(rehearsal, job, shape),
      mode_(model::recompute_mode(job.options.recompute)),
      sequence_(job.options.parallel.sequence && job.options.parallel.tensor > 1),
      one_by_one_(job.options.text_cache_mib > 0 && shape.frozen > 0),
      tokens_(job.tokens),
      compute_(job.compute_bytes()),
      wide_(job.wide_bytes()) {
  constexpr std::int64_t least_angles = 512;
  shared_.push_back(r_.hold(Item::inputs, std::max(least_angles, tokens_) * shape.head_dim * wide_));
}

TextPass::Learning TextPass::learning(std::int64_t block) const {
  const auto& parts = shape_.projections[static_cast<std::size_t>(block)];
  Learning result;
  result.input = block > shape_.frozen;
  result.core = result.input || any(parts, 0, 3);
  result.middle = result.core || any(parts, 3, 1);
  result.inner = result.middle || any(parts, 4, 2);
  result.output = result.inner || any(parts, 6, 1);
  return result;
}

ProjectionGroup TextPass::group(std::int64_t block, std::size_t first, std::size_t count, std::int64_t rows,
                                bool split) const {
  const auto begin = shape_.projections[static_cast<std::size_t>(block)].begin() + static_cast<std::ptrdiff_t>(first);
  return {block, first, {begin, begin + static_cast<std::ptrdiff_t>(count)}, rows, split};
}

std::int64_t TextPass::rows_before(std::int64_t block) const { return split(block) ? ops_.own(rows_) : rows_; }

std::int64_t TextPass::rows_behind(std::int64_t block) const { return is_last(block) ? samples_ : rows_before(block); }

Held TextPass::attention(const Held& x, std::int64_t block, AttentionKept* kept) {
  const Learning learns = learning(block);
  const bool parts = split(block);
  const Held normed = ops_.norm(x, rows_before(block), Item::attention, kept && learns.input ? &kept->norm : nullptr);
  const auto graph = [&](Kept AttentionKept::*what) { return kept ? &(kept->*what) : nullptr; };
  const std::int64_t queries = is_last(block) ? samples_ : rows_;
  std::vector<Held> projected;
  Held chosen;
  if (is_last(block)) {
    projected = ops_.project(normed, group(block, 1, 2, rows_, false), Item::attention, graph(&AttentionKept::rows));
    chosen = ops_.add(samples_, Item::attention);
    projected.insert(projected.begin(), ops_.project(chosen, group(block, 0, 1, samples_, false), Item::attention,
                                                     graph(&AttentionKept::query))[0]);
  } else {
    projected = ops_.project(normed, group(block, 0, 3, rows_, parts), Item::attention, graph(&AttentionKept::rows));
  }
  const Held q = ops_.rotate(queries, shape_.queries(), Item::attention);
  const Held k = ops_.rotate(rows_, shape_.keys(), Item::attention);
  const Held mixed =
      ops_.attend({q, k, projected[2]}, queries, samples_, kept && learns.core ? &kept->core : nullptr);
  return ops_.project(mixed, group(block, 3, 1, queries, parts), Item::attention, graph(&AttentionKept::output))[0];
}

Held TextPass::attention_back(Held dy, std::int64_t block, AttentionKept kept, GradientSink& sink) {
  const Learning learns = learning(block);
  const bool parts = split(block);
  const std::int64_t queries = is_last(block) ? samples_ : rows_;
  Held dmixed = ops_.project_back({std::move(dy)}, group(block, 3, 1, queries, parts), learns.core,
                                  std::move(kept.output), sink);
  if (!learns.core) return nullptr;
  std::vector<Held> gradients = ops_.attend_back(std::move(dmixed), queries, rows_, samples_, std::move(kept.core));
  gradients[0] = ops_.rotate_back(std::move(gradients[0]), queries, shape_.queries());
  gradients[1] = ops_.rotate_back(std::move(gradients[1]), rows_, shape_.keys());
  Held dnormed;
  if (is_last(block)) {
    Held dchosen = ops_.project_back({std::move(gradients[0])}, group(block, 0, 1, samples_, false), learns.input,
                                     std::move(kept.query), sink);
    std::vector<Held> rest = {std::move(gradients[1]), std::move(gradients[2])};
    gradients.clear();
    const Held spread = learns.input ? ops_.add(rows_, Item::working) : nullptr;
    dchosen.reset();
    dnormed = ops_.project_back(std::move(rest), group(block, 1, 2, rows_, false), learns.input, std::move(kept.rows), sink);
  } else {
    dnormed = ops_.project_back(std::move(gradients), group(block, 0, 3, rows_, parts), learns.input, std::move(kept.rows),
                                sink);
  }
  return learns.input ? ops_.norm_back(std::move(dnormed), rows_before(block), std::move(kept.norm)) : nullptr;
}

Held TextPass::run(const Held& x, std::int64_t block, BlockKept* kept, Recompute mode) {
  if (mode == Recompute::full && kept) {
    kept->input = x;
    return run(x, block, nullptr, Recompute::none);
  }
  const Learning learns = learning(block);
  const std::int64_t behind = rows_behind(block);
  Held attended;
  if (mode == Recompute::attention && kept) {
    kept->attention_input = x;
    attended = attention(x, block, nullptr);
  } else {
    attended = attention(x, block, kept ? &kept->attention : nullptr);
  }
  const Held chosen = is_last(block) ? ops_.add(behind, Item::working) : nullptr;
  const Held middle = ops_.add(behind, Item::residual);
  attended.reset();
  const std::int64_t rows = is_last(block) ? samples_ : rows_;
  const auto graph = [&](Kept BlockKept::*what, bool wanted) { return kept && wanted ? &(kept->*what) : nullptr; };
  const Held normed = ops_.norm(middle, behind, Item::feed_forward, graph(&BlockKept::norm, learns.middle));
  Held active;
  {
    const auto gate_up = ops_.project(normed, group(block, 4, 2, rows, split(block)), Item::feed_forward,
                                      graph(&BlockKept::gate_up, true));
    active = ops_.swiglu(gate_up, rows, graph(&BlockKept::swiglu, learns.inner));
    const Held down = ops_.project(active, group(block, 6, 1, rows, split(block)), Item::feed_forward,
                                   graph(&BlockKept::down, true))[0];
    return ops_.add(behind, Item::residual);
  }
}

Held TextPass::run_back(Held dy, std::int64_t block, BlockKept kept, Recompute mode, GradientSink& sink) {
  const Learning learns = learning(block);
  if (mode == Recompute::full) {
    BlockKept again;
    const Held y = run(kept.input, block, &again, Recompute::none);
    const Held outer = dy;  // the step of the graph keeps it to the end
    return run_back(std::move(dy), block, std::move(again), Recompute::none, sink);
  }
  const std::int64_t behind = rows_behind(block);
  const std::int64_t rows = is_last(block) ? samples_ : rows_;
  Held dactive = ops_.project_back({dy}, group(block, 6, 1, rows, split(block)), learns.inner, std::move(kept.down), sink);
  if (!learns.inner) return nullptr;
  std::vector<Held> dgate_up = ops_.swiglu_back(std::move(dactive), rows, std::move(kept.swiglu));
  Held dnormed = ops_.project_back(std::move(dgate_up), group(block, 4, 2, rows, split(block)), learns.middle,
                                   std::move(kept.gate_up), sink);
  if (!learns.middle) return nullptr;
  const Held dmiddle = ops_.norm_back(std::move(dnormed), behind, std::move(kept.norm));
  // The two paths' gradients are added in place, unless a recomputed block's step keeps dy.
  Held both = dy.use_count() > 1 ? ops_.add(behind, Item::working) : dy;
  dy.reset();
  if (mode == Recompute::attention) {
    const Held y = attention(kept.attention_input, block, &kept.attention);
    const Held dx = attention_back(both, block, std::move(kept.attention), sink);
  } else {
    const Held dx = attention_back(both, block, std::move(kept.attention), sink);
  }
  if (!learns.input) return nullptr;
  return is_last(block) ? ops_.add(rows_, Item::working) : both;
}

Held TextPass::frozen_states() {
  units_.forward(0);
  Held x = ops_.add(rows_, Item::residual);
  for (std::int64_t block = 0; block < shape_.frozen; ++block) {
    units_.forward(static_cast<std::size_t>(block) + 1);
    x = run(x, block, nullptr, Recompute::none);
  }
  return x;
}

void TextPass::forward(std::int64_t samples, bool graph) {
  const bool learns = graph && shape_.learns;
  samples_ = one_by_one_ ? 1 : samples;
  rows_ = samples_ * tokens_;
  const std::int64_t all_rows = samples * tokens_;
  // Tokens, positions and keys of the rows, and their angles.
  inputs_ = r_.hold(Item::inputs, all_rows * (5 * 8 + shape_.head_dim * wide_));
  Held x;
  if (one_by_one_) {
    const Tally before = r_.tally();
    x = frozen_states();
    r_.repeat(r_.tally() - before, static_cast<double>(samples - 1));
    const Held states = r_.hold(Item::residual, all_rows * shape_.width * compute_);
    samples_ = samples;
    rows_ = all_rows;
    x = ops_.add(rows_, Item::residual);
  } else {
    x = frozen_states();
  }
  if (split(shape_.frozen)) x = ops_.add(ops_.own(rows_), Item::residual);
  kept_.clear();
  kept_.resize(static_cast<std::size_t>(shape_.blocks - shape_.frozen));
  for (std::int64_t block = shape_.frozen; block < shape_.blocks; ++block) {
    units_.forward(static_cast<std::size_t>(block) + 1);
    if (is_last(block) && block > shape_.frozen && sequence_) {
      r_.among_tensor(Collective::all_gather, static_cast<double>(rows_ * shape_.width * compute_));
      x = ops_.add(rows_, Item::residual);
    }
    const bool keeps = learns && learning(block).output;
    x = run(x, block, keeps ? &kept_[static_cast<std::size_t>(block - shape_.frozen)] : nullptr, mode_);
  }
  result_ = ops_.norm(x, samples_, Item::residual, nullptr);
  if (!learns) inputs_.reset();
}

void TextPass::backward(GradientSink& sink) {
  if (!shape_.learns) return;
  Held dy = ops_.add(samples_, Item::working);
  for (std::int64_t block = shape_.blocks; block-- > shape_.frozen;) {
    units_.backward(static_cast<std::size_t>(block) + 1);
    auto& kept = kept_[static_cast<std::size_t>(block - shape_.frozen)];
    dy = run_back(std::move(dy), block, std::move(kept), mode_, sink);
    if (is_last(block) && sequence_ && dy) dy = ops_.add(ops_.own(rows_), Item::working);
  }
  kept_.clear();
  inputs_.reset();
  result_.reset();
}

}  // namespace medfuse::plan
