#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "training/random.h"

namespace bifocal::training {

// Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019) of a batch with its own reverse, as timm's
// Mixup in mode "batch".
struct Mixing {
  double mixup_alpha = 0;           // 0: no mixup
  double cutmix_alpha = 0;          // 0: no CutMix
  double probability = 1;           // that a batch is mixed at all
  double switch_probability = 0.5;  // of CutMix where both are on

  bool enabled() const noexcept { return (mixup_alpha > 0 || cutmix_alpha > 0) && probability > 0; }
};

// What was drawn for one batch: item i is mixed with item B - 1 - i.
struct Mixture {
  double share = 1;  // of the item itself; of its area in CutMix
  // CutMix's rectangle, empty for mixup: rows [top, bottom), columns [left, right).
  std::int64_t top = 0, bottom = 0, left = 0, right = 0;

  bool cuts() const noexcept { return bottom > top && right > left; }
};

Mixture draw_mixture(const Mixing& mixing, std::int64_t height, std::int64_t width, Random& random);

// Both return new tensors. pixels [B, 3, H, W]; targets [B, classes], probabilities.
at::Tensor mix_pixels(const at::Tensor& pixels, const Mixture& mixture);
at::Tensor mix_targets(const at::Tensor& targets, const Mixture& mixture);

// [B, classes]: 1 - smoothing on the class and smoothing / classes spread over all (Szegedy et al.
// 2016). classes_of [B] int64.
at::Tensor soft_targets(const at::Tensor& classes_of, std::int64_t classes, double smoothing);

}  // namespace bifocal::training
