#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "guarded.h"
#include "nn/cpu/kernels.h"

namespace bifocal::nn::cpu {

inline float widened(Bf16 bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

// Rounding to bfloat16 as IEEE 754 rounds, written apart from the kernels'.
inline Bf16 nearest_bf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (std::isnan(value)) return static_cast<Bf16>((bits >> 16) | 0x40);
  const auto low = static_cast<Bf16>(bits >> 16);
  const std::uint32_t rest = bits & 0xffff;
  const bool up = rest > 0x8000 || (rest == 0x8000 && (low & 1) != 0);
  return static_cast<Bf16>(low + (up ? 1 : 0));
}

// What a row of a product's operand is once it was rounded to steps of which its largest number is
// 127, written apart from the kernels': [size], all NaN where one of them is not finite.
inline std::vector<double> quantised(std::span<const float> row) {
  float most = 0;
  bool finite = true;
  for (const float x : row) {
    finite = finite && std::isfinite(x);
    most = std::max(most, std::abs(x));
  }
  std::vector<double> rounded(row.size(), finite ? 0.0 : std::numeric_limits<double>::quiet_NaN());
  if (!finite || most < 4e-37f) return rounded;
  for (std::size_t i = 0; i < row.size(); ++i)
    rounded[i] = std::nearbyint(row[i] * (127 / most)) * static_cast<double>(most) / 127;
  return rounded;
}

// A matrix of the table's element in guarded memory, with what its numbers are after rounding.
struct Operand {
  Operand(const Kernels& kernels, const std::vector<float>& from)
      : narrow(kernels.precision == Precision::kBf16),
        floats(narrow ? 0 : from.size()),
        halves(narrow ? from.size() : 0),
        values(from) {
    for (std::size_t i = 0; i < from.size(); ++i) set(i, from[i]);
  }
  void* data() { return narrow ? static_cast<void*>(halves.data()) : floats.data(); }
  void set(std::size_t i, float value) {
    if (narrow)
      halves.data()[i] = nearest_bf16(value);
    else
      floats.data()[i] = value;
    values[i] = at(i);
  }
  float at(std::size_t i) { return narrow ? widened(halves.data()[i]) : floats.data()[i]; }

  bool narrow;
  testing::Guarded<float> floats;
  testing::Guarded<Bf16> halves;
  std::vector<float> values;
};

}  // namespace bifocal::nn::cpu
