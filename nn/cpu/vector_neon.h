#pragma once
// Four floats of AArch64's Advanced SIMD (NEON), little-endian. See vector_avx512.h.

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "nn/cpu/kernels.h"

#define BIFOCAL_INLINE static inline __attribute__((always_inline))
#define BIFOCAL_NEON_VECTORS
#define BIFOCAL_INLINE_MEMBER inline __attribute__((always_inline))

namespace bifocal::nn::cpu {

using Vector = float32x4_t;
constexpr std::int64_t kLanes = 4;
constexpr bool kRough = false;
constexpr int kTileRows = 8;  // 24 sums, 3 weights and some of A fit in 32 registers
constexpr int kTileVectors = 3;

// *p and a zero: an LDR, where one that fills every lane (LD1R) takes a turn of what multiplies too
// (Arm Neoverse N1 Software Optimization Guide).
BIFOCAL_INLINE float32x2_t load_one(const float* p) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, p, sizeof(bits));
  return vcreate_f32(bits);
}
BIFOCAL_INLINE uint32x4_t first_lanes(std::int64_t n) {
  constexpr std::int32_t kNumbers[] = {0, 1, 2, 3};
  return vcltq_s32(vld1q_s32(kNumbers), vdupq_n_s32(static_cast<std::int32_t>(n)));
}

BIFOCAL_INLINE Vector fill(float x) { return vdupq_n_f32(x); }
BIFOCAL_INLINE Vector load(const float* p) { return vld1q_f32(p); }
BIFOCAL_INLINE Vector load_first(const float* p, std::int64_t n) {
  float32x2_t low = vdup_n_f32(0), high = low;
  if ((n & 2) != 0) low = vld1_f32(p);
  if ((n & 1) != 0) ((n & 2) != 0 ? high : low) = load_one(p + (n & 2));
  return vcombine_f32(low, high);
}
BIFOCAL_INLINE void store(float* p, Vector x) { vst1q_f32(p, x); }
BIFOCAL_INLINE void store_first(float* p, Vector x, std::int64_t n) {
  if ((n & 2) != 0) vst1_f32(p, vget_low_f32(x));
  if ((n & 1) != 0) p[n & 2] = vget_lane_f32((n & 2) != 0 ? vget_high_f32(x) : vget_low_f32(x), 0);
}
BIFOCAL_INLINE Vector keep_first(Vector x, std::int64_t n, Vector other) {
  return vbslq_f32(first_lanes(n), x, other);
}

BIFOCAL_INLINE Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
BIFOCAL_INLINE Vector sub(Vector a, Vector b) { return vsubq_f32(a, b); }
BIFOCAL_INLINE Vector mul(Vector a, Vector b) { return vmulq_f32(a, b); }
BIFOCAL_INLINE Vector over(Vector a, Vector b) { return vdivq_f32(a, b); }  // b from 1 to 2^126
BIFOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
// NaN where either operand is.
BIFOCAL_INLINE Vector min(Vector a, Vector b) { return vminq_f32(a, b); }
BIFOCAL_INLINE Vector max(Vector a, Vector b) { return vmaxq_f32(a, b); }
BIFOCAL_INLINE Vector round(Vector x) { return vrndnq_f32(x); }
// In two halves: 2^n alone leaves float's range before x * 2^n does. NaN becomes the integer 0; x
// is NaN then too.
BIFOCAL_INLINE Vector scale(Vector x, Vector n) {
  const int32x4_t whole = vcvtq_s32_f32(min(fill(252), max(fill(-252), n)));
  const int32x4_t half = vshrq_n_s32(whole, 1);
  const auto power = [](int32x4_t k) __attribute__((always_inline)) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(k, vdupq_n_s32(127)), 23));
  };
  return mul(mul(x, power(half)), power(vsubq_s32(whole, half)));
}
BIFOCAL_INLINE Vector exp2_of_last_bits(Vector x) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(x), 23));
}
BIFOCAL_INLINE float sum(Vector x) { return vaddvq_f32(x); }
BIFOCAL_INLINE float highest(Vector x) { return vmaxvq_f32(x); }

// To bfloat16 as the format defines it: to the nearest, ties to even, NaN stays NaN. It stands in
// the upper half of each lane, what is left of the float below it.
BIFOCAL_INLINE uint32x4_t to_bf16(Vector x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  return vbslq_u32(vceqq_f32(x, x), rounded, vorrq_u32(bits, vdupq_n_u32(0x400000)));
}
BIFOCAL_INLINE Vector widened(uint16x4_t x) { return vreinterpretq_f32_u32(vshll_n_u16(x, 16)); }
BIFOCAL_INLINE Vector load(const Bf16* p) { return widened(vld1_u16(p)); }
BIFOCAL_INLINE Vector load_first(const Bf16* p, std::int64_t n) {
  std::uint64_t lanes = (n & 1) != 0 ? p[n & 2] : 0;
  if ((n & 2) != 0) {
    std::uint32_t pair;
    __builtin_memcpy(&pair, p, sizeof(pair));
    lanes = lanes << 32 | pair;
  }
  return widened(vcreate_u16(lanes));
}
BIFOCAL_INLINE void store(Bf16* p, Vector x) { vst1_u16(p, vshrn_n_u32(to_bf16(x), 16)); }
BIFOCAL_INLINE void store_first(Bf16* p, Vector x, std::int64_t n) {
  std::uint64_t lanes = vget_lane_u64(vreinterpret_u64_u16(vshrn_n_u32(to_bf16(x), 16)), 0);
  if ((n & 2) != 0) {
    const auto pair = static_cast<std::uint32_t>(lanes);
    __builtin_memcpy(p, &pair, sizeof(pair));
    lanes >>= 32;
  }
  if ((n & 1) != 0) p[n & 2] = static_cast<Bf16>(lanes);
}
// even[0], odd[0], even[1], ...
BIFOCAL_INLINE void store_pairs(Bf16* p, Vector even, Vector odd) {
  const uint32x4_t pairs = vsriq_n_u32(to_bf16(odd), to_bf16(even), 16);
  __builtin_memcpy(p, &pairs, sizeof(pairs));
}

BIFOCAL_INLINE void prefetch(const char* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace bifocal::nn::cpu
