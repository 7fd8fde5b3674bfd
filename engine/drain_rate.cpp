#include "engine/drain_rate.h"

#include <algorithm>
#include <cmath>

namespace bifocal::engine {
namespace {

constexpr double kMemorySeconds = 3;     // what is older than this hardly counts
constexpr double kInitialSeconds = 0.3;  // how much the first guess weighs

}  // namespace

void DrainRate::record(Clock::time_point now, double busy, double done) {
  if (last_ != Clock::time_point{}) {
    const double elapsed = std::chrono::duration<double>(now - last_).count();
    // Idle time says nothing of the rate: only busy time makes the past fade.
    const double busy_elapsed = std::clamp(busy, 0.0, 1.0) * std::max(elapsed, 0.0);
    const double kept = std::exp(-busy_elapsed / kMemorySeconds);
    busy_seconds_ = kept * busy_seconds_ + busy_elapsed;
    done_ = kept * done_ + done;
  }
  last_ = now;
}

double DrainRate::per_second() const noexcept {
  return (done_ + initial_ * kInitialSeconds) / (busy_seconds_ + kInitialSeconds);
}

}  // namespace bifocal::engine
