#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "nn/cpu/kernels.h"

namespace bifocal::nn::cpu {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline double activated(double x, Activation activation) {
  switch (activation) {
    case Activation::kGeluErf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kRelu6:
      return std::clamp(x, 0.0, 6.0);
  }
  return x;
}

// One test a table, of those that run here.
class EveryKernel : public ::testing::TestWithParam<const Kernels*> {
 protected:
  void SetUp() override {
    if (!kernels().runs_here()) GTEST_SKIP() << "this CPU cannot run them";
  }
  const Kernels& kernels() const { return *GetParam(); }
  // What one rounding of an operand may cost, relative.
  double unit() const { return kernels().precision == Precision::kBf16 ? 1.0 / 256 : 1e-7; }

  // What an activation may be wrong by beside float's rounding, relative: products of bf16 keep
  // eight bits of what they take.
  double activation_unit() const { return rough() ? 1.5e-4 : 0; }
  // The same of an activation that gives `value`, absolute.
  double activation_error(Activation activation, double value) const {
    if (rough() && activation == Activation::kGeluErf) return 7.5e-5;
    return activation_unit() * std::abs(value);
  }

  bool rough() const { return kernels().precision == Precision::kBf16 && !kernels().emulated; }

  std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  std::vector<float> normal(std::int64_t count, float size = 1) {
    std::normal_distribution<float> distribution(0, size);
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = distribution(random_);
    return values;
  }

  std::mt19937 random_{5};
};

inline std::vector<const Kernels*> tables() {
  std::vector<const Kernels*> all;
  for (const Precision precision : kPrecisions)
    for (const Kernels* kernels : all_kernels(precision)) all.push_back(kernels);
  return all;
}

inline std::string name_of(const ::testing::TestParamInfo<const Kernels*>& which) {
  return std::string(which.param->name) + "_" + std::string(nn::name_of(which.param->precision));
}

}  // namespace bifocal::nn::cpu
