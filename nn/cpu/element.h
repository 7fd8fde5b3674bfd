#pragma once
// What a matrix product is made of, on a vector_*.h: for each element, how many of them along the
// depth one step of a lane takes, and the step itself. Bf16 has one where the CPU multiplies it,
// and for NEON and any CPU one that widens it, which is slow and shows what bf16 gives. That of
// integers stands in gemm_int8.h.

namespace bifocal::nn::cpu {

template <typename Element>
struct Product;

#ifdef BIFOCAL_NEON_VECTORS
// An element of A stands in one lane, which the multiplication itself spreads.
template <>
struct Product<float> {
  static constexpr std::int64_t kDepth = 1;
  static constexpr bool kEmulated = false;
  using Sums = Vector;
  using Weights = Vector;
  BIFOCAL_INLINE Weights weights(const float* b) { return load(b); }
  BIFOCAL_INLINE float32x2_t broadcast(const float* a) { return load_one(a); }
  BIFOCAL_INLINE Vector step(Vector sums, float32x2_t a, Weights b) {
    return vfmaq_lane_f32(sums, b, a, 0);
  }
};
#else
template <>
struct Product<float> {
  static constexpr std::int64_t kDepth = 1;  // of one step
  static constexpr bool kEmulated = false;
  using Sums = Vector;
  using Weights = Vector;
  BIFOCAL_INLINE Weights weights(const float* b) { return load(b); }
  BIFOCAL_INLINE Weights broadcast(const float* a) { return fill(*a); }
  BIFOCAL_INLINE Vector step(Vector sums, Weights a, Weights b) { return fma(a, b, sums); }
};
#endif

#ifdef __AVX512BF16__
template <>
struct Product<Bf16> {
  static constexpr std::int64_t kDepth = 2;
  static constexpr bool kEmulated = false;
  using Sums = Vector;
  using Weights = __m512bh;
  BIFOCAL_INLINE Weights weights(const Bf16* b) { return (__m512bh)_mm512_loadu_si512(b); }
  BIFOCAL_INLINE Weights broadcast(const Bf16* a) {
    int pair;
    __builtin_memcpy(&pair, a, sizeof(pair));
    return (__m512bh)_mm512_set1_epi32(pair);
  }
  // The last of an odd depth: its neighbour is no element of A.
  BIFOCAL_INLINE Weights broadcast_last(const Bf16* a) { return (__m512bh)_mm512_set1_epi32(*a); }
  BIFOCAL_INLINE Vector step(Vector sums, Weights a, Weights b) {
    return _mm512_dpbf16_ps(sums, a, b);
  }
};
#elif defined(BIFOCAL_NEON_VECTORS)
template <>
struct Product<Bf16> {
  static constexpr std::int64_t kDepth = 2;
  static constexpr bool kEmulated = true;
  using Sums = Vector;
  struct Weights {
    Vector first, second;
  };
  BIFOCAL_INLINE Weights weights(const Bf16* b) {
    uint32x4_t pairs;
    __builtin_memcpy(&pairs, b, sizeof(pairs));
    return {vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16)),
            vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)))};
  }
  BIFOCAL_INLINE float32x2_t broadcast(const Bf16* a) {
    std::uint32_t pair;
    __builtin_memcpy(&pair, a, sizeof(pair));
    return vget_low_f32(widened(vcreate_u16(pair)));
  }
  BIFOCAL_INLINE float32x2_t broadcast_last(const Bf16* a) {
    return vget_low_f32(widened(vcreate_u16(*a)));
  }
  BIFOCAL_INLINE Vector step(Vector sums, float32x2_t a, Weights b) {
    return vfmaq_lane_f32(vfmaq_lane_f32(sums, b.first, a, 0), b.second, a, 1);
  }
};
#elif defined(BIFOCAL_PORTABLE_VECTORS)
template <>
struct Product<Bf16> {
  static constexpr std::int64_t kDepth = 2;
  static constexpr bool kEmulated = true;
  using Sums = Vector;
  struct Weights {
    Vector first, second;
  };
  BIFOCAL_INLINE Weights weights(const Bf16* b) {
    Integers pairs;
    __builtin_memcpy(&pairs, b, sizeof(pairs));
    return {(Vector)(pairs << 16), (Vector)(pairs >> 16 << 16)};
  }
  BIFOCAL_INLINE Weights broadcast(const Bf16* a) {
    return {fill(widened(*a)), fill(widened(a[1]))};
  }
  BIFOCAL_INLINE Weights broadcast_last(const Bf16* a) { return {fill(widened(*a)), fill(0)}; }
  BIFOCAL_INLINE Vector step(Vector sums, Weights a, Weights b) {
    return fma(a.second, b.second, fma(a.first, b.first, sums));
  }
};
#endif

}  // namespace bifocal::nn::cpu
