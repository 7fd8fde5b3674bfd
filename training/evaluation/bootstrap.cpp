#include "training/evaluation/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "training/random.h"

namespace bifocal::training {
namespace {

// Between the order statistics, as NumPy's default does. `sorted` is not empty.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  const double weight = place - static_cast<double>(below);
  return sorted[below] + weight * (sorted[above] - sorted[below]);
}

}  // namespace

Estimate bootstrap(std::size_t units, const Statistic& statistic, const BootstrapOptions& options) {
  constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
  if (units == 0) return {kNothing, kNothing, kNothing};
  std::vector<std::size_t> drawn(units);
  std::iota(drawn.begin(), drawn.end(), std::size_t{0});
  Estimate estimate{statistic(drawn), kNothing, kNothing};

  std::vector<double> values;
  for (std::size_t sample = 0; sample < options.resamples; ++sample) {
    Random random(options.seed, sample);
    for (std::size_t& unit : drawn) unit = random.below(units);
    // A sample in which the statistic is not defined, such as one without positives, says nothing.
    if (const double value = statistic(drawn); std::isfinite(value)) values.push_back(value);
  }
  if (values.empty()) return estimate;
  std::sort(values.begin(), values.end());
  estimate.low = quantile(values, (1 - options.level) / 2);
  estimate.high = quantile(values, (1 + options.level) / 2);
  return estimate;
}

PairedDifference paired_difference(std::span<const double> first, std::span<const double> second,
                                   std::span<const std::size_t> cluster) {
  PairedDifference result;
  if (first.empty()) return result;
  const auto count = static_cast<double>(first.size());
  for (std::size_t i = 0; i < first.size(); ++i) result.mean += (first[i] - second[i]) / count;
  std::unordered_map<std::size_t, double> sums;
  for (std::size_t i = 0; i < first.size(); ++i)
    sums[cluster[i]] += first[i] - second[i] - result.mean;
  double squares = 0;
  for (const auto& [unused, sum] : sums) squares += sum * sum;
  const auto clusters = static_cast<double>(sums.size());
  if (clusters > 1) result.standard_error = std::sqrt(squares * clusters / (clusters - 1)) / count;
  return result;
}

}  // namespace bifocal::training
