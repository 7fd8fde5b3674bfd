#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
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
