#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace bifocal::training {

// Linear warm-up to 1, then a cosine to `final_factor` at the last step (Loshchilov and Hutter
// 2017, without restarts). A pure function of the step: nothing to save.
struct WarmUpCosine {
  std::int64_t warm_up_steps = 0;
  std::int64_t total_steps = 1;
  double final_factor = 0.0;

  double at(std::int64_t step) const noexcept {  // from 0
    if (step < warm_up_steps)
      return static_cast<double>(step + 1) / static_cast<double>(warm_up_steps);
    const double left = static_cast<double>(std::max<std::int64_t>(total_steps - warm_up_steps, 1));
    const double progress = std::min(1.0, static_cast<double>(step - warm_up_steps) / left);
    return final_factor + (1 - final_factor) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
  }
};

}  // namespace bifocal::training
