#pragma once
// What a matrix product is made of, on a vector_*.h: for each element, how many of them along the
// depth one step of a lane takes, and the step itself. Bf16 has one where the CPU multiplies it,
// and a portable one, which is slow and shows on any CPU what bf16 gives.

namespace bifocal::nn::cpu {

template <typename Element>
struct Product;

template <>
struct Product<float> {
  static constexpr std::int64_t kDepth = 1;  // of one step
  static constexpr bool kEmulated = false;
  using Weights = Vector;
  BIFOCAL_INLINE Weights weights(const float* b) { return load(b); }
  BIFOCAL_INLINE Weights broadcast(const float* a) { return fill(*a); }
  BIFOCAL_INLINE Vector step(Vector sums, Weights a, Weights b) { return fma(a, b, sums); }
};

#ifdef __AVX512BF16__
template <>
struct Product<Bf16> {
  static constexpr std::int64_t kDepth = 2;
  static constexpr bool kEmulated = false;
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
#elif defined(BIFOCAL_PORTABLE_VECTORS)
template <>
struct Product<Bf16> {
  static constexpr std::int64_t kDepth = 2;
  static constexpr bool kEmulated = true;
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
