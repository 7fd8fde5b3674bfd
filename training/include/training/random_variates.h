#pragma once

#include "training/random.h"

namespace bifocal::training {

bool chance(Random& random, double probability) noexcept;         // never for 0, always for 1
double normal(Random& random) noexcept;                           // mean 0, deviation 1
double beta(Random& random, double alpha, double beta) noexcept;  // both > 0

}  // namespace bifocal::training
