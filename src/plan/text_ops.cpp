#include "src/plan/text_ops.h"

#include <algorithm>
#include <utility>

namespace medfuse::plan {

bool ProjectionGroup::adapted() const {
  return std::any_of(items.begin(), items.end(), [](const Projection& p) { return p.adapted; });
}

TextOps::TextOps(Rehearsal& rehearsal, const Job& job, const TextShape& shape)
    : r_(rehearsal),
      compute_(job.compute_bytes()),
      state_(job.state_bytes()),
      wide_(job.wide_bytes()),
      degree_(job.options.parallel.tensor),
      width_(shape.width),
      lora_rank_(shape.lora_rank),
      heads_(shape.heads),
      key_heads_(shape.key_heads),
      head_dim_(shape.head_dim),
      inner_(shape.inner),
      keys_per_sample_(job.tokens),
      dropout_(job.options.text.lora.dropout),
      fused_(!job.machine.cuda),
      scores_kept_(job.machine.cuda && job.options.precision != "bf16") {}

double TextOps::whole(std::int64_t rows, std::int64_t features) const {
  return static_cast<double>(rows * features * compute_);
}

Held TextOps::widened(const Held& x, std::int64_t rows, std::int64_t features, Item item) {
  return wide_ == compute_ ? x : r_.make(item, rows * features, wide_);
}

Held TextOps::cast(std::int64_t elements) {
  return state_ == compute_ ? nullptr : r_.make(Item::working, elements, compute_);
}

void TextOps::draw_mask(std::int64_t rows, std::int64_t features) {
  if (fused_) return;
  // Three int64 numbers for each pair of features, then two draws of each pair side by side.
  const std::int64_t pairs = rows * (features + 1) / 2;
  const Held numbers[] = {r_.make(Item::working, pairs, 8), r_.make(Item::working, pairs, 8),
                          r_.make(Item::working, pairs, 8)};
  const Held draws = r_.make(Item::working, 2 * pairs, 8);
  // Mixing (ops/dropout.cpp) is 14 operations of LibTorch, each of which goes through memory: 216 bytes of a pair; keys,
  // halves and the comparison take 106 more. 80 of these are counted with the numbers above.
  r_.touch(static_cast<double>(pairs * (216 + 106 - 80)));
}

Held TextOps::dropped(const Held& x, std::int64_t rows, std::int64_t features) {
  if (dropout_ == 0) return x;
  draw_mask(rows, features);
  if (fused_) return make(Item::working, rows, features);
  const Held mask = r_.make(Item::working, rows * features, 1);
  const Held steps[] = {widened(nullptr, rows, features, Item::working), wide(rows, features), wide(rows, features)};
  return make(Item::working, rows, features);
}

Held TextOps::norm(const Held& x, std::int64_t rows, Item item, Kept* kept) {
  const Held inverse = r_.make(item, rows, wide_);
  if (kept) kept->insert(kept->end(), {x, inverse});
  if (fused_) return make(item, rows, width_);
  const Held steps[] = {widened(x, rows, width_, Item::working), wide(rows, width_),
                        wide_ == compute_ ? nullptr : wide(rows, width_)};
  return make(item, rows, width_);
}

Held TextOps::norm_back(Held dy, std::int64_t rows, Kept kept) {
  const Kept held = std::move(kept);
  if (fused_) return make(Item::working, rows, width_);
  const Held steps[] = {widened(nullptr, rows, width_, Item::working), wide(rows, width_), wide(rows, width_)};
  dy.reset();
  return make(Item::working, rows, width_);
}

std::vector<Held> TextOps::project(const Held& x, const ProjectionGroup& group, Item item, Kept* kept) {
  const bool column = group.items.front().split == model::Split::column && degree_ > 1;
  const bool row = group.items.front().split == model::Split::row && degree_ > 1;
  const bool split = group.rows_split && degree_ > 1;
  const std::int64_t rows = group.rows;
  const std::int64_t x_rows = column && split ? own(rows) : rows;
  const std::int64_t in = group.items.front().in;
  Kept saved;
  if (group.adapted()) saved.push_back(x);

  std::vector<Held> behind_A;
  std::int64_t reduced_width = 0;
  for (const Projection& p : group.items) {
    if (!p.adapted) continue;
    const Held drop = dropped(x, x_rows, in);
    const Held A = cast(lora_rank_ * in);
    r_.multiply(static_cast<double>(x_rows), static_cast<double>(in), static_cast<double>(lora_rank_));
    behind_A.push_back(make(item, x_rows, lora_rank_));
    reduced_width += lora_rank_;
  }
  if (column && split && reduced_width > 0) {
    const Held beside = make(Item::working, x_rows, reduced_width);
    behind_A = {make(item, own(rows) * degree_, reduced_width)};
    r_.among_tensor(Collective::all_gather, whole(rows, reduced_width));
  }
  Held input = x;
  if (column && split) {
    input = make(Item::working, own(rows) * degree_, in);
    r_.among_tensor(Collective::all_gather, whole(rows, in));
  }
  std::vector<Held> outputs;
  for (const Projection& p : group.items) {
    r_.multiply(static_cast<double>(rows), static_cast<double>(in), static_cast<double>(p.out));
    Held y = make(item, rows, p.out);
    if (p.adapted) {
      const Held B = cast(lora_rank_ * p.out);
      r_.multiply(static_cast<double>(rows), static_cast<double>(lora_rank_), static_cast<double>(p.out));
    }
    if (row && split) {
      const Held mine = make(item, own(rows), p.out);
      r_.among_tensor(Collective::reduce_scatter, whole(rows, p.out));
      y = mine;
    } else if (row) {
      r_.among_tensor(Collective::all_reduce, whole(rows, p.out));
    }
    outputs.push_back(std::move(y));
  }
  saved.insert(saved.end(), behind_A.begin(), behind_A.end());
  if (kept) kept->insert(kept->end(), saved.begin(), saved.end());
  return outputs;
}

Held TextOps::project_back(std::vector<Held> dys, const ProjectionGroup& group, bool wants_dx, Kept kept,
                           GradientSink& sink) {
  const bool column = group.items.front().split == model::Split::column && degree_ > 1;
  const bool row = group.items.front().split == model::Split::row && degree_ > 1;
  const bool split = group.rows_split && degree_ > 1;
  const std::int64_t rows = group.rows;
  const std::int64_t x_rows = column && split ? own(rows) : rows;
  const std::int64_t in = group.items.front().in;
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  const Kept held = std::move(kept);  // until the step is done
  Held dx;
  std::vector<Held> du, factors;
  std::int64_t reduced_width = 0;
  for (std::size_t i = 0; i < group.items.size(); ++i) {
    const Projection& p = group.items[i];
    Held dy = dys[i];
    if (row && split) {
      dy = make(Item::working, own(rows) * degree_, p.out);
      r_.among_tensor(Collective::all_gather, whole(rows, p.out));
    }
    if (wants_dx) {
      if (!dx) dx = make(Item::working, rows, in);
      r_.multiply(real(rows), real(p.out), real(in));
    }
    if (!p.adapted) continue;
    const Held B = cast(lora_rank_ * p.out);
    r_.multiply(real(rows), real(p.out), real(lora_rank_));
    du.push_back(make(Item::working, rows, lora_rank_));
    r_.multiply(real(rows), real(lora_rank_), real(p.out));
    factors.push_back(r_.make(Item::working, lora_rank_ * p.out, state_));
    reduced_width += lora_rank_;
    if (column && p.copies > 1) {
      const double bytes = real(lora_rank_ * p.whole_out * state_);
      const Held all = r_.hold(Item::working, lora_rank_ * p.whole_out * state_);
      r_.among_tensor(Collective::all_reduce, bytes);
    }
  }
  if (column && wants_dx) {
    r_.among_tensor(split ? Collective::reduce_scatter : Collective::all_reduce, whole(rows, in));
    if (split) dx = make(Item::working, x_rows, in);
  }
  if (column && !du.empty()) {
    du = {make(Item::working, rows, reduced_width)};
    r_.among_tensor(split ? Collective::reduce_scatter : Collective::all_reduce, whole(rows, reduced_width));
    if (split) du = {make(Item::working, x_rows, reduced_width)};
  }
  double partial = 0;
  for (const Projection& p : group.items) {
    if (!p.adapted) continue;
    const Held drop = dropped(nullptr, x_rows, in);
    r_.multiply(real(x_rows), real(lora_rank_), real(in));
    factors.push_back(r_.make(Item::working, lora_rank_ * in, state_));
    if (column && split) partial += real(lora_rank_ * in * state_);
    if (row) partial += real(lora_rank_ * p.out * state_);
    if (wants_dx) {
      const Held A = cast(lora_rank_ * in);
      r_.multiply(real(x_rows), real(lora_rank_), real(in));
      const Held back = make(Item::working, x_rows, in);
      const Held masked = fused_ ? nullptr : dropped(back, x_rows, in);
    }
  }
  if (partial > 0) r_.among_tensor(Collective::all_reduce, partial);
  dys.clear();
  factors.clear();  // they become gradients, which the sink counts
  for (std::size_t i = 0; i < group.items.size(); ++i) {
    if (!group.items[i].adapted) continue;
    sink.arrive(group.block, group.first + i, 0);
    sink.arrive(group.block, group.first + i, 1);
  }
  return dx;
}

Held TextOps::rotate(std::int64_t rows, std::int64_t features, Item item) {
  if (fused_) return make(item, rows, features);
  const Held steps[] = {widened(nullptr, rows, features, Item::working), wide(rows, features), wide(rows, features),
                        wide(rows, features), wide_ == compute_ ? nullptr : wide(rows, features)};
  return make(item, rows, features);
}

Held TextOps::rotate_back(Held dy, std::int64_t rows, std::int64_t features) {
  const Held given = std::move(dy);
  return rotate(rows, features, Item::working);
}

Held TextOps::attend(const std::vector<Held>& qkv, std::int64_t queries, std::int64_t samples, Kept* kept) {
  const std::int64_t keys = keys_per_sample_;
  const bool last_only = queries == samples;
  const double seen = static_cast<double>(queries) * static_cast<double>(keys) * (last_only ? 1.0 : 0.5);
  r_.products(4 * seen * static_cast<double>(heads_ * head_dim_));
  const Held each = make(Item::attention, queries, heads_ * head_dim_);
  const Held statistics = r_.make(Item::attention, queries * heads_, wide_);
  Kept saved = {qkv[0], qkv[1], qkv[2], each, statistics};
  if (scores_kept_) saved.push_back(r_.make(Item::attention, queries * heads_ * keys, wide_));
  if (kept) kept->insert(kept->end(), saved.begin(), saved.end());
  return samples == 1 ? each : make(Item::attention, queries, heads_ * head_dim_);
}

std::vector<Held> TextOps::attend_back(Held dy, std::int64_t queries, std::int64_t rows, std::int64_t samples, Kept kept) {
  const Held given = std::move(dy);
  const bool last_only = queries == samples;
  const double seen =
      static_cast<double>(queries) * static_cast<double>(keys_per_sample_) * (last_only ? 1.0 : 0.5);
  r_.products(10 * seen * static_cast<double>(heads_ * head_dim_));
  const Held scores = scores_kept_ ? r_.make(Item::working, queries * heads_ * keys_per_sample_, wide_) : nullptr;
  std::vector<Held> gradients;
  {
    // Of each sample, then laid end to end.
    const auto all = [&]() -> std::vector<Held> {
      return {make(Item::working, queries, heads_ * head_dim_), make(Item::working, rows, key_heads_ * head_dim_),
              make(Item::working, rows, key_heads_ * head_dim_)};
    };
    std::vector<Held> each = all();
    kept.clear();
    if (samples == 1) return each;
    gradients = all();
  }
  return gradients;
}

Held TextOps::swiglu(const std::vector<Held>& gate_up, std::int64_t rows, Kept* kept) {
  if (kept) kept->insert(kept->end(), gate_up.begin(), gate_up.end());
  if (fused_) return make(Item::feed_forward, rows, inner_);
  const Held steps[] = {widened(nullptr, rows, inner_, Item::working), wide(rows, inner_), wide(rows, inner_),
                        widened(nullptr, rows, inner_, Item::working),
                        wide_ == compute_ ? nullptr : wide(rows, inner_)};
  return make(Item::feed_forward, rows, inner_);
}

std::vector<Held> TextOps::swiglu_back(Held dy, std::int64_t rows, Kept kept) {
  const Held given = std::move(dy);
  const Kept held = std::move(kept);
  if (fused_) return {make(Item::working, rows, inner_), make(Item::working, rows, inner_)};
  // Gate, its sigmoid, the gradient, the slope, the other factor and their product.
  const Held steps[] = {widened(nullptr, rows, inner_, Item::working), wide(rows, inner_),
                        widened(nullptr, rows, inner_, Item::working), wide(rows, inner_),
                        widened(nullptr, rows, inner_, Item::working), wide(rows, inner_)};
  return {make(Item::working, rows, inner_), make(Item::working, rows, inner_)};
}

Held TextOps::add(std::int64_t rows, Item item) { return make(item, rows, width_); }

}  // namespace medfuse::plan
