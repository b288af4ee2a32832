// The numbers of AdamW: what is chosen for a run, and what one update uses.
#pragma once

namespace medfuse::train {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

/// value *= 1 - decay; m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2;
/// value -= rate * m / (sqrt(v) / root_correction + epsilon), with g = gradient * gradient_scale.
struct AdamWFactors {
  double rate = 0;             ///< learning rate / (1 - beta1^t)
  double decay = 0;            ///< learning rate * weight decay
  double root_correction = 1;  ///< sqrt(1 - beta2^t)
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double gradient_scale = 1;
};

}  // namespace medfuse::train
