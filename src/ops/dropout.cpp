#include "src/ops/dropout.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "base/random.h"
#include "src/ops/dispatch.h"
#include "src/ops/kernels.h"
#include "src/ops/rows.h"

namespace medfuse::ops {

namespace {

struct Place {
  double p;
  DropoutKeys keys;
  std::int64_t layer;
  Site site;
  std::int64_t feature_offset;
};

void check(at::IntArrayRef shape, const Place& place) {
  const at::Tensor& keys = place.keys.sample_keys_B;
  const at::Tensor& tokens = place.keys.tokens_B;
  if (!(place.p >= 0 && place.p < 1)) throw std::logic_error("dropout: probability outside [0, 1)");
  if (place.feature_offset < 0) throw std::logic_error("dropout: negative feature offset");
  if (shape.size() != 2 && shape.size() != 3) throw std::logic_error("dropout: x must be [B, D] or [B, L, D]");
  if (keys.scalar_type() != at::kLong || keys.dim() != 1 || keys.size(0) != shape[0]) {
    throw std::logic_error("dropout: sample_keys_B must be int64 with one key per row of x");
  }
  if (tokens.defined() && (shape.size() != 2 || tokens.scalar_type() != at::kLong || tokens.sizes() != keys.sizes())) {
    throw std::logic_error("dropout: tokens_B must be int64 with one number per row of x [B, D]");
  }
}

/// An element is kept if its 32 bits, as a number, are not below this.
std::uint32_t threshold(double p) {
  return static_cast<std::uint32_t>(std::min(std::ceil(p * 0x1.0p32), 0x1.0p32 - 1));
}

/// Two neighbouring features share a key, of which each takes one half: mix(pair) for the pairs in question.
std::vector<std::uint64_t> pair_mixes(std::int64_t offset, std::int64_t width) {
  std::vector<std::uint64_t> mixes;
  for (std::int64_t pair = offset / 2; 2 * pair < offset + width; ++pair) {
    mixes.push_back(mix(static_cast<std::uint64_t>(pair)));
  }
  return mixes;
}

std::int64_t as_signed(std::uint64_t value) { return static_cast<std::int64_t>(value); }

at::Tensor shift_right(const at::Tensor& z, int bits) {
  // Shifting int64 repeats the sign bit; the mask makes it the logical shift of mix().
  return z.bitwise_right_shift(bits).bitwise_and_(as_signed(~std::uint64_t{0} >> bits));
}

/// mix() of base/random.h on int64 tensors, whose products wrap.
at::Tensor mix_tensor(const at::Tensor& x) {
  at::Tensor z = x + as_signed(0x9e3779b97f4a7c15ull);
  z = shift_right(z, 30).bitwise_xor_(z).mul_(as_signed(0xbf58476d1ce4e5b9ull));
  z = shift_right(z, 27).bitwise_xor_(z).mul_(as_signed(0x94d049bb133111ebull));
  return shift_right(z, 31).bitwise_xor_(z);
}

/// target = or += dropout(x), by the kernel.
void run_kernel(const at::Tensor& target, const at::Tensor& x, bool accumulate, const Place& place) {
  const std::int64_t width = x.size(-1);
  if (x.numel() == 0) return;
  const std::int64_t rows = x.numel() / width;
  const at::Tensor keys = place.keys.sample_keys_B.contiguous();
  const at::Tensor tokens = place.keys.tokens_B.defined() ? place.keys.tokens_B.contiguous() : at::Tensor();
  const std::vector<std::uint64_t> mixes = pair_mixes(place.feature_offset, width);
  const kernels::DropoutRows description{keys.const_data_ptr<std::int64_t>(),
                                         tokens.defined() ? tokens.const_data_ptr<std::int64_t>() : nullptr,
                                         x.dim() == 3 ? x.size(1) : 1,
                                         mixes.data(),
                                         place.feature_offset % 2,
                                         static_cast<std::uint64_t>(place.layer),
                                         static_cast<std::uint64_t>(place.site),
                                         threshold(place.p),
                                         1 / (1 - place.p)};
  dispatch_kernel_type(x.scalar_type(), [&]<class T>(T) {
    T* const out = target.mutable_data_ptr<T>();
    const T* const in = x.const_data_ptr<T>();
    parallel_rows(rows, width, [&](std::int64_t begin, std::int64_t end) {
      MEDFUSE_KERNEL(dropout, out, in, accumulate, description, begin, end, width);
    });
  });
}

at::Tensor mask_of(at::IntArrayRef shape, const Place& place) {
  return dropout_mask(shape, place.p, place.keys, place.layer, place.site, place.feature_offset);
}

at::Tensor apply(const at::Tensor& x, const Place& place) {
  if (has_kernel(x)) {
    at::Tensor result = at::empty_like(x);
    run_kernel(result, x, false, place);
    return result;
  }
  const at::ScalarType wide = wide_type(x.scalar_type());
  return at::where(mask_of(x.sizes(), place), x.to(wide) * (1 / (1 - place.p)), at::zeros({}, x.options().dtype(wide)))
      .to(x.scalar_type());
}

/// The mask is computed again on the way back: it costs less than the memory it would take.
struct Dropout : torch::autograd::Function<Dropout> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const Place& place) {
    context->saved_data["p"] = place.p;
    context->saved_data["keys"] = place.keys.sample_keys_B;
    if (place.keys.tokens_B.defined()) context->saved_data["tokens"] = place.keys.tokens_B;
    context->saved_data["layer"] = place.layer;
    context->saved_data["site"] = static_cast<std::int64_t>(place.site);
    context->saved_data["offset"] = place.feature_offset;
    return apply_mask(x, place);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    auto& saved = context->saved_data;
    Place place;
    place.p = saved["p"].toDouble();
    place.keys.sample_keys_B = saved["keys"].toTensor();
    if (saved.count("tokens") > 0) place.keys.tokens_B = saved["tokens"].toTensor();
    place.layer = saved["layer"].toInt();
    place.site = static_cast<Site>(saved["site"].toInt());
    place.feature_offset = saved["offset"].toInt();
    return {apply_mask(gradients[0].contiguous(), place), at::Tensor()};
  }

 private:
  static at::Tensor apply_mask(const at::Tensor& x, const Place& place) { return ops::apply(x, place); }
};

}  // namespace

at::Tensor dropout_mask(at::IntArrayRef shape, double p, const DropoutKeys& keys, std::int64_t layer, Site site,
                        std::int64_t feature_offset) {
  check(shape, {p, keys, layer, site, feature_offset});
  const at::NoGradGuard no_grad;
  const auto extend = [](const at::Tensor& k, std::uint64_t counter) { return mix_tensor(k ^ as_signed(mix(counter))); };
  const at::TensorOptions options = keys.sample_keys_B.options();
  at::Tensor k = extend(extend(keys.sample_keys_B, static_cast<std::uint64_t>(layer)), static_cast<std::uint64_t>(site));
  if (shape.size() == 3) {
    k = mix_tensor(k.unsqueeze(1) ^ mix_tensor(at::arange(shape[1], options)));
  } else if (keys.tokens_B.defined()) {
    k = mix_tensor(k ^ mix_tensor(keys.tokens_B));
  } else {
    k = extend(k, 0);
  }
  const std::int64_t first = feature_offset / 2;
  const std::int64_t end = (feature_offset + shape.back() + 1) / 2;
  k = mix_tensor(k.unsqueeze(-1) ^ mix_tensor(at::arange(first, end, options)));
  const at::Tensor draws = at::stack({k.bitwise_and(0xffffffff), shift_right(k, 32)}, -1).flatten(-2);
  return draws.narrow(-1, feature_offset % 2, shape.back()).ge(static_cast<std::int64_t>(threshold(p)));
}

at::Tensor dropout(const at::Tensor& x, double p, const DropoutKeys& keys, std::int64_t layer, Site site,
                   std::int64_t feature_offset) {
  if (!keys.sample_keys_B.defined()) return x;
  const Place place{p, keys, layer, site, feature_offset};
  check(x.sizes(), place);
  return p == 0 ? x : Dropout::apply(x.contiguous(), place);
}

void add_dropout_(const at::Tensor& target, const at::Tensor& x, double p, const DropoutKeys& keys, std::int64_t layer,
                  Site site, std::int64_t feature_offset) {
  const at::NoGradGuard no_grad;
  if (!keys.sample_keys_B.defined() || p == 0) {
    target.add_(x);
    return;
  }
  const Place place{p, keys, layer, site, feature_offset};
  check(x.sizes(), place);
  const at::Tensor source = x.contiguous();
  if (target.sizes() != source.sizes() || target.scalar_type() != source.scalar_type()) {
    throw std::logic_error("add_dropout_: target and x differ in shape or type");
  }
  if (has_kernel(source) && has_kernel(target)) run_kernel(target, source, true, place);
  else target.add_(apply(source, place));
}

}  // namespace medfuse::ops
