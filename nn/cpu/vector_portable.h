#pragma once
// Four floats for any CPU, in the compiler's vector extensions: SSE2 on x86-64, NEON on ARM. See
// vector_avx512.h.

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "nn/cpu/kernels.h"

#define BIFOCAL_INLINE static inline __attribute__((always_inline))
#define BIFOCAL_PORTABLE_VECTORS
#define BIFOCAL_INLINE_MEMBER inline __attribute__((always_inline))

namespace bifocal::nn::cpu {

typedef float Vector __attribute__((vector_size(16)));
typedef std::int32_t Integers __attribute__((vector_size(16)));
constexpr std::int64_t kLanes = 4;
constexpr bool kRough = false;
constexpr int kTileRows = 4;
constexpr int kTileVectors = 2;

BIFOCAL_INLINE Vector fill(float x) { return Vector{x, x, x, x}; }
BIFOCAL_INLINE Vector load(const float* p) {
  Vector x;
  __builtin_memcpy(&x, p, sizeof(x));
  return x;
}
BIFOCAL_INLINE Vector load_first(const float* p, std::int64_t n) {
  Vector x = {};
  for (std::int64_t i = 0; i < n; ++i) x[i] = p[i];
  return x;
}
BIFOCAL_INLINE void store(float* p, Vector x) { __builtin_memcpy(p, &x, sizeof(x)); }
BIFOCAL_INLINE void store_first(float* p, Vector x, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) p[i] = x[i];
}

BIFOCAL_INLINE float widened(Bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}
BIFOCAL_INLINE Vector load(const Bf16* p) {
  return Vector{widened(p[0]), widened(p[1]), widened(p[2]), widened(p[3])};
}
BIFOCAL_INLINE Vector load_first(const Bf16* p, std::int64_t n) {
  Vector x = {};
  for (std::int64_t i = 0; i < n; ++i) x[i] = widened(p[i]);
  return x;
}
// To bfloat16 as the format defines it: to the nearest, ties to even, NaN stays NaN.
BIFOCAL_INLINE Integers to_bf16(Vector x) {
  const Integers bits = (Integers)x;
  const Integers rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const auto is_number = x == x;  // NOLINT(misc-redundant-expression): NaN is not
  return is_number ? rounded : bits >> 16 | 0x40;
}
BIFOCAL_INLINE void store_first(Bf16* p, Vector x, std::int64_t n) {
  const Integers bits = to_bf16(x);
  for (std::int64_t i = 0; i < n; ++i) p[i] = static_cast<Bf16>(bits[i]);
}
BIFOCAL_INLINE void store(Bf16* p, Vector x) { store_first(p, x, kLanes); }
// even[0], odd[0], even[1], ...
BIFOCAL_INLINE void store_pairs(Bf16* p, Vector even, Vector odd) {
  const Integers pairs = (to_bf16(even) & 0xffff) | to_bf16(odd) << 16;
  __builtin_memcpy(p, &pairs, sizeof(pairs));
}
BIFOCAL_INLINE Vector keep_first(Vector x, std::int64_t n, Vector other) {
  for (std::int64_t i = n; i < kLanes; ++i) x[i] = other[i];
  return x;
}

BIFOCAL_INLINE Vector add(Vector a, Vector b) { return a + b; }
BIFOCAL_INLINE Vector sub(Vector a, Vector b) { return a - b; }
BIFOCAL_INLINE Vector mul(Vector a, Vector b) { return a * b; }
BIFOCAL_INLINE Vector over(Vector a, Vector b) { return a / b; }  // b from 1 to 2^126
BIFOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
BIFOCAL_INLINE Vector min(Vector a, Vector b) { return a < b ? a : b; }
BIFOCAL_INLINE Vector max(Vector a, Vector b) { return a > b ? a : b; }
// By the constant at which a float's last bit is 1; larger numbers are whole already.
BIFOCAL_INLINE Vector round(Vector x) {
  const Vector magic = fill(12582912.0f);
  const Vector size = x < 0 ? -x : x;
  return size < 4194304.0f ? (x + magic) - magic : x;
}
BIFOCAL_INLINE Vector scale(Vector x, Vector n) {
  const Vector bounded = min(fill(252), max(fill(-252), n));
  // NaN has no integer; x is NaN then too.
  const auto is_number = bounded == bounded;  // NOLINT(misc-redundant-expression): NaN is not
  const Integers whole = __builtin_convertvector(is_number ? bounded : fill(0), Integers);
  const Integers half = whole >> 1;
  const auto power = [](Integers k) { return (Vector)((k + 127) << 23); };
  return x * power(half) * power(whole - half);
}
BIFOCAL_INLINE Vector exp2_of_last_bits(Vector x) { return (Vector)((Integers)x << 23); }
BIFOCAL_INLINE float sum(Vector x) { return (x[0] + x[2]) + (x[1] + x[3]); }
BIFOCAL_INLINE float highest(Vector x) {
  const float a = x[0] > x[2] ? x[0] : x[2];
  const float b = x[1] > x[3] ? x[1] : x[3];
  return a > b ? a : b;
}

BIFOCAL_INLINE void prefetch(const char* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace bifocal::nn::cpu
