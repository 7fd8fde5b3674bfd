#pragma once

#include <chrono>

namespace bifocal::engine {

// How fast work leaves, in priced seconds of work a second: measured while there is work, with the
// last seconds counting most. Not thread-safe.
class DrainRate {
 public:
  using Clock = std::chrono::steady_clock;

  explicit DrainRate(double initial) : initial_(initial) {}

  // `busy` of the lanes (0 to 1) had work to do since the last call; `done` of it was finished.
  void record(Clock::time_point now, double busy, double done);
  double per_second() const noexcept;

 private:
  double initial_;
  Clock::time_point last_{};
  double busy_seconds_ = 0;
  double done_ = 0;
};

}  // namespace bifocal::engine
