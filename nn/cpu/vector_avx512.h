#pragma once
// Sixteen floats of AVX-512. All vector_*.h define the same names; a kernel source includes
// one of them, then the kernels written on it. All of it has internal linkage and uses no inline
// function of the standard library: code made for one instruction set must not be linked into
// callers of another.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "nn/cpu/kernels.h"

#define BIFOCAL_INLINE static inline __attribute__((always_inline))
#define BIFOCAL_INLINE_MEMBER inline __attribute__((always_inline))

namespace bifocal::nn::cpu {

using Vector = __m512;
constexpr std::int64_t kLanes = 16;
// Registers of a GEMM tile: 24 sums, 3 weights, and one of A fit in 32.
constexpr int kTileRows = 8;
constexpr int kTileVectors = 3;

BIFOCAL_INLINE __mmask16 first_lanes(std::int64_t n) {
  return static_cast<__mmask16>((1u << n) - 1);
}

BIFOCAL_INLINE Vector fill(float x) { return _mm512_set1_ps(x); }
BIFOCAL_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
// The first n < kLanes; zeros in the others.
BIFOCAL_INLINE Vector load_first(const float* p, std::int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
BIFOCAL_INLINE void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
BIFOCAL_INLINE void store_first(float* p, Vector x, std::int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), x);
}
// The first n lanes of x, `other` in the rest.
BIFOCAL_INLINE Vector keep_first(Vector x, std::int64_t n, Vector other) {
  return _mm512_mask_mov_ps(other, first_lanes(n), x);
}

BIFOCAL_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
BIFOCAL_INLINE Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
BIFOCAL_INLINE Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
// Whether functions of one vector may be wrong in the fourteenth bit: where all that is multiplied
// has eight, no more are worth their time.
#ifdef BIFOCAL_ROUGH_FUNCTIONS
constexpr bool kRough = true;
#else
constexpr bool kRough = false;
#endif
// a / b for b from 1 to 2^126, by an estimate of 14 bits and, where that is too rough, one step of
// Newton's: the divider takes sixteen cycles, a third of what an activation costs.
BIFOCAL_INLINE Vector over(Vector a, Vector b) {
  const Vector estimate = _mm512_rcp14_ps(b);
  if (kRough) return _mm512_mul_ps(a, estimate);
  return _mm512_mul_ps(a, _mm512_mul_ps(estimate, _mm512_fnmadd_ps(b, estimate, fill(2))));
}
BIFOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// Where an operand is NaN these give the second: bounds go first, so that NaN passes.
BIFOCAL_INLINE Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
BIFOCAL_INLINE Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
BIFOCAL_INLINE Vector round(Vector x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// x * 2^n; n is whole, of any size.
BIFOCAL_INLINE Vector scale(Vector x, Vector n) { return _mm512_scalef_ps(x, n); }
// 2^n, where n + 127 stands in x's last eight bits.
BIFOCAL_INLINE Vector exp2_of_last_bits(Vector x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 23));
}
BIFOCAL_INLINE float sum(Vector x) { return _mm512_reduce_add_ps(x); }
BIFOCAL_INLINE float highest(Vector x) { return _mm512_reduce_max_ps(x); }

// To bfloat16 as the format defines it: to the nearest, ties to even, NaN stays NaN.
BIFOCAL_INLINE __m256i to_bf16(Vector x) {
#ifdef __AVX512BF16__
  return (__m256i)_mm512_cvtneps_pbh(x);
#else
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7fc0)));
#endif
}
BIFOCAL_INLINE void store(Bf16* p, Vector x) { _mm256_storeu_si256((__m256i*)p, to_bf16(x)); }
BIFOCAL_INLINE void store_first(Bf16* p, Vector x, std::int64_t n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), to_bf16(x));
}
BIFOCAL_INLINE Vector widened(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
BIFOCAL_INLINE Vector load(const Bf16* p) { return widened(_mm256_loadu_si256((const __m256i*)p)); }
BIFOCAL_INLINE Vector load_first(const Bf16* p, std::int64_t n) {
  return widened(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
// even[0], odd[0], even[1], ...
BIFOCAL_INLINE void store_pairs(Bf16* p, Vector even, Vector odd) {
  const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(to_bf16(odd)), 16);
  _mm512_storeu_si512(p, _mm512_or_si512(_mm512_cvtepu16_epi32(to_bf16(even)), high));
}

BIFOCAL_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T1); }

}  // namespace bifocal::nn::cpu
