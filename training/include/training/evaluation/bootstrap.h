#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

namespace bifocal::training {

struct BootstrapOptions {
  std::size_t resamples = 1000;
  double level = 0.95;
  std::uint64_t seed = 1;
};

// A figure of a sample, and the interval that holds it for `level` of the samples drawn alike.
struct Estimate {
  double value = 0;
  double low = 0;
  double high = 0;
};

// What a statistic is of some units, which may repeat.
using Statistic = std::function<double(std::span<const std::size_t> units)>;

// The percentile bootstrap (Efron, 1979) over units 0 to `units` - 1: what was drawn independently,
// such as images with all their captions. A paired difference is a statistic like any other. The
// same on every machine for the same seed. NaN where there are no units.
Estimate bootstrap(std::size_t units, const Statistic& statistic,
                   const BootstrapOptions& options = {});

// The mean of first - second over pairs of outcomes, and its standard error where those of one
// cluster are not independent of each other (Liang and Zeger, 1986).
struct PairedDifference {
  double mean = 0;
  double standard_error = 0;
};
PairedDifference paired_difference(std::span<const double> first, std::span<const double> second,
                                   std::span<const std::size_t> cluster);

}  // namespace bifocal::training
