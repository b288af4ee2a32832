#include "src/plan/small_models.h"

#include <cmath>
#include <vector>

namespace medfuse::plan {

namespace {

std::int64_t linear(std::int64_t in, std::int64_t out) { return in * out + out; }
std::int64_t norm(std::int64_t width) { return 2 * width; }

/// Query, key without a bias, value, output.
std::int64_t attention(std::int64_t memory_width, std::int64_t width) {
  return linear(width, width) + memory_width * width + linear(memory_width, width) + linear(width, width);
}

std::int64_t lab_block(std::int64_t width) {
  return 2 * norm(width) + attention(width, width) + linear(width, 4 * width) + linear(4 * width, width);
}

bool both(const Job& job) { return job.options.fusion.views == "both"; }
bool uses_text(const Job& job) { return job.options.fusion.views != "labs"; }
bool uses_labs(const Job& job) { return job.options.fusion.views != "text"; }

std::int64_t fusion_parameters(const Job& job) {
  const model::FusionOptions& o = job.options.fusion;
  const std::int64_t width = o.width, dense = o.tokens * o.width;
  const std::int64_t view = norm(width) + attention(width, width) + norm(width) + linear(width, width);
  std::int64_t sum = 0;
  if (uses_text(job)) sum += norm(job.llama.hidden_size) + linear(job.llama.hidden_size, dense) + view;
  if (uses_labs(job)) sum += norm(job.options.labs.width) + dense + attention(job.options.labs.width, width) + view;
  if (both(job)) {
    sum += 2 * linear(width, o.kronecker) + linear(o.kronecker * o.kronecker, width) + 3 * norm(width) +
           attention(width, width);
  }
  const std::int64_t features = (both(job) ? 3 : 1) * dense;
  return sum + linear(features, dense) + linear(features + dense, dense) + linear(features + 2 * dense, job.diseases);
}

/// Elements that a block of the lab transformer keeps of a token, by recomputation mode; and all that it ever makes.
struct BlockStates {
  std::int64_t kept;
  std::int64_t all;
};

BlockStates lab_states(const Job& job) {
  const std::int64_t width = job.options.labs.width;
  const std::int64_t in_attention = 5 * width + job.options.labs.heads + 2;  // normed, q, k, v, mixed
  const std::int64_t all = in_attention + 11 * width + 2;                    // input, middle, normed, inner, active
  if (job.options.recompute == "full") return {width, all};
  if (job.options.recompute == "attention") return {all - in_attention, all};
  return {all, all};
}

/// Column tokens that the encoder sees.
std::int64_t visible(const Job& job, bool masked) {
  const double share = masked ? 1 - job.options.labs.mask_ratio : 1;
  return static_cast<std::int64_t>(std::ceil(share * static_cast<double>(job.lab_columns)));
}

/// What is kept over `blocks` blocks of `tokens` tokens in all, forward.
std::vector<Held> lab_blocks(Rehearsal& r, const Job& job, std::int64_t tokens, std::int64_t blocks, bool graph) {
  const std::int64_t width = job.options.labs.width;
  const BlockStates states = lab_states(job);
  std::vector<Held> kept;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const auto rows = static_cast<double>(tokens);
    r.multiply(rows, static_cast<double>(width), static_cast<double>(12 * width));
    {
      const Held all = r.make(Item::small_activations, tokens * (states.all - states.kept), job.state_bytes());
    }
    Held mine = r.make(Item::small_activations, tokens * states.kept, job.state_bytes());
    if (graph) kept.push_back(std::move(mine));
  }
  return kept;
}

}  // namespace

SmallModels small_models(const Job& job) {
  const model::LabOptions& o = job.options.labs;
  SmallModels sizes;
  sizes.text_head = linear(job.llama.hidden_size, job.diseases);
  const std::int64_t columns = job.lab_columns * o.width;
  sizes.lab_encoder =
      3 * columns + linear(o.width, o.width) + o.width + o.encoder_layers * lab_block(o.width) + norm(o.width);
  const std::int64_t decoder =
      linear(o.width, o.width) + o.width + columns + o.decoder_layers * lab_block(o.width) + norm(o.width);
  sizes.labs = sizes.lab_encoder + decoder + columns + job.lab_columns;
  sizes.fusion = fusion_parameters(job);
  if (both(job)) {
    const std::int64_t dense = job.options.fusion.tokens * job.options.fusion.width;
    const std::int64_t hidden = job.options.fusion.estimator_width;
    sizes.estimator = 2 * (linear(2 * dense, hidden) + linear(hidden, dense));
  }
  return sizes;
}

std::int64_t feature_width(const Job& job) {
  return (both(job) ? 3 : 1) * job.options.fusion.tokens * job.options.fusion.width;
}

void pretrain_labs(Rehearsal& r, const Job& job, std::int64_t samples) {
  const model::LabOptions& o = job.options.labs;
  const std::int64_t seen = samples * (1 + visible(job, true));
  const std::int64_t cells = samples * (1 + job.lab_columns);
  const Tally before = r.tally();
  std::vector<Held> kept = {r.make(Item::inputs, samples * job.lab_columns, job.state_bytes() + 2)};
  // The embedding of all cells, the visible ones; what the bridge, the decoder's input and the head keep.
  kept.push_back(r.make(Item::small_activations, (2 * cells + 2 * seen) * o.width, job.state_bytes()));
  auto encoder = lab_blocks(r, job, seen, o.encoder_layers, true);
  kept.push_back(r.make(Item::small_activations, 3 * cells * o.width, job.state_bytes()));
  auto decoder = lab_blocks(r, job, cells, o.decoder_layers, true);
  const Tally forward = r.tally() - before;
  const BlockStates states = lab_states(job);
  // A whole block that is computed again is there beside all that the others keep; of an attention the feed-forward half is
  // gone by then.
  const bool whole = job.options.recompute == "full";
  const Held again = r.make(Item::working, whole ? cells * (states.all - states.kept) : 0, job.state_bytes());
  const Held gradients = r.make(Item::working, 5 * cells * o.width, job.state_bytes());
  r.repeat(forward, whole ? 3 : 2);
}

Held fuse(Rehearsal& r, const Job& job, std::int64_t samples, bool graph) {
  const model::FusionOptions& o = job.options.fusion;
  const std::int64_t dense = o.tokens * o.width;
  std::int64_t elements = 10 * dense + 3 * feature_width(job) + 4 * dense;
  auto kept = std::make_shared<std::vector<Held>>();
  if (uses_text(job)) elements += 2 * job.llama.hidden_size + 14 * dense;
  if (uses_labs(job)) {
    const std::int64_t cells = samples * (1 + job.lab_columns);
    elements += 14 * dense + (1 + job.lab_columns) * (3 * job.options.labs.width + 2 * o.width);
    kept->push_back(r.make(Item::small_activations, 4 * cells * job.options.labs.width, job.state_bytes()));
    for (Held& block : lab_blocks(r, job, cells, job.options.labs.encoder_layers, graph)) kept->push_back(std::move(block));
  }
  if (both(job)) elements += o.tokens * o.tokens * (o.kronecker * o.kronecker + 4 * o.width);
  r.multiply(static_cast<double>(samples * o.tokens), static_cast<double>(fusion_parameters(job)), 1);
  kept->push_back(r.make(Item::small_activations, samples * elements, job.state_bytes()));
  if (!graph) return nullptr;
  return kept;
}

}  // namespace medfuse::plan
