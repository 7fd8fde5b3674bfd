#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace bifocal::training {

// SplitMix64 (Steele, Lea and Flood, 2014): the same numbers from the same seed on every machine
// and with every standard library, whose distributions differ. A value type of eight bytes: a
// checkpoint saves state().
class Random {
 public:
  // `stream` tells apart what must not share numbers: one an epoch, a sample, a use.
  explicit Random(std::uint64_t seed, std::uint64_t stream = 0) noexcept
      : state_(seed + mix(stream + kStep)) {}

  std::uint64_t next() noexcept { return mix(state_ += kStep); }
  double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  double uniform(double low, double high) noexcept { return low + (high - low) * uniform(); }
  // A whole number of [0, bound), each as likely as the others (Lemire, 2019); bound > 0.
  std::size_t below(std::size_t bound) noexcept {
    const auto wide = static_cast<std::uint64_t>(bound);
    for (;;) {
      const Wide product = Wide{next()} * wide;
      if (static_cast<std::uint64_t>(product) >= (0 - wide) % wide)
        return static_cast<std::size_t>(product >> 64);
    }
  }
  template <typename T>
  void shuffle(std::vector<T>& values) noexcept {
    for (std::size_t left = values.size(); left > 1; --left)
      std::swap(values[left - 1], values[below(left)]);
  }

  std::uint64_t state() const noexcept { return state_; }
  void set_state(std::uint64_t state) noexcept { state_ = state; }

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15;
  static constexpr std::uint64_t mix(std::uint64_t z) noexcept {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

}  // namespace bifocal::training
