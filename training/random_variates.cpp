#include "training/random_variates.h"

#include <cmath>
#include <numbers>

namespace bifocal::training {
namespace {

// Marsaglia and Tsang 2000; shapes below 1 by their boost.
double gamma(Random& random, double shape) noexcept {
  if (shape < 1) {
    const double boosted = gamma(random, shape + 1);
    return boosted * std::pow(1 - random.uniform(), 1 / shape);
  }
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = normal(random);
    const double v = std::pow(1 + c * x, 3);
    if (v <= 0) continue;
    if (std::log(1 - random.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

}  // namespace

bool chance(Random& random, double probability) noexcept { return random.uniform() < probability; }

// Box and Muller 1958; the second variate is not kept, so that the generator has no other state.
double normal(Random& random) noexcept {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * std::numbers::pi * random.uniform());
}

double beta(Random& random, double alpha, double beta) noexcept {
  const double first = gamma(random, alpha);
  const double second = gamma(random, beta);
  return first + second > 0 ? first / (first + second) : 0.5;
}

}  // namespace bifocal::training
