#pragma once
// Eight floats of AVX2 with FMA. See vector_avx512.h.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "nn/cpu/kernels.h"

#define BIFOCAL_INLINE static inline __attribute__((always_inline))
#define BIFOCAL_INLINE_MEMBER inline __attribute__((always_inline))

namespace bifocal::nn::cpu {

using Vector = __m256;
constexpr std::int64_t kLanes = 8;
constexpr bool kRough = false;
constexpr int kTileRows = 6;  // 12 sums, 2 weights and one of A fit in 16 registers
constexpr int kTileVectors = 2;

BIFOCAL_INLINE __m256i first_lanes(std::int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

BIFOCAL_INLINE Vector fill(float x) { return _mm256_set1_ps(x); }
BIFOCAL_INLINE Vector load(const float* p) { return _mm256_loadu_ps(p); }
BIFOCAL_INLINE Vector load_first(const float* p, std::int64_t n) {
  return _mm256_maskload_ps(p, first_lanes(n));
}
BIFOCAL_INLINE void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
BIFOCAL_INLINE void store_first(float* p, Vector x, std::int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), x);
}
BIFOCAL_INLINE Vector keep_first(Vector x, std::int64_t n, Vector other) {
  return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(first_lanes(n)));
}

BIFOCAL_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
BIFOCAL_INLINE Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
BIFOCAL_INLINE Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
BIFOCAL_INLINE Vector over(Vector a, Vector b) { return _mm256_div_ps(a, b); }  // b from 1 to 2^126
BIFOCAL_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
BIFOCAL_INLINE Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
BIFOCAL_INLINE Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
BIFOCAL_INLINE Vector round(Vector x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// In two halves: 2^n alone leaves float's range before x * 2^n does.
BIFOCAL_INLINE Vector scale(Vector x, Vector n) {
  const __m256i whole = _mm256_cvtps_epi32(
      _mm256_min_ps(_mm256_set1_ps(252), _mm256_max_ps(_mm256_set1_ps(-252), n)));
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const auto power = [&](__m256i k) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(k, bias), 23));
  };
  return mul(mul(x, power(half)), power(_mm256_sub_epi32(whole, half)));
}
BIFOCAL_INLINE Vector exp2_of_last_bits(Vector x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 23));
}
BIFOCAL_INLINE float sum(Vector x) {
  __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_add_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
BIFOCAL_INLINE float highest(Vector x) {
  __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  half = _mm_max_ps(half, _mm_movehl_ps(half, half));
  return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

BIFOCAL_INLINE void prefetch(const char* p) { _mm_prefetch(p, _MM_HINT_T1); }

}  // namespace bifocal::nn::cpu
