#pragma once
// Row by row: layer norm, rounding, sums. On a vector_*.h.

namespace bifocal::nn::cpu {

template <typename T>
BIFOCAL_INLINE Vector load_some(const T* p, std::int64_t n) {
  return n >= kLanes ? load(p) : load_first(p, n);
}
template <typename T>
BIFOCAL_INLINE void store_some(T* p, Vector x, std::int64_t n) {
  if (n >= kLanes)
    store(p, x);
  else
    store_first(p, x, n);
}

// The sum of term(i, n) over a row's vectors, of which each has n numbers from i on; in four
// chains, as one would wait for each addition before the next.
template <typename Term>
BIFOCAL_INLINE float sum_of_row(std::int64_t size, const Term& term) {
  constexpr std::int64_t kChains = 4;
  Vector sums[kChains] = {fill(0), fill(0), fill(0), fill(0)};
  for (std::int64_t i = 0; i < size; i += kChains * kLanes)
#pragma GCC unroll 4
    for (std::int64_t chain = 0; chain < kChains; ++chain)
      if (const std::int64_t at = i + chain * kLanes; at < size)
        sums[chain] = add(sums[chain], term(at, size - at));
  return sum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

template <typename Element>
static void layer_norm(const LayerNorm& norm) {
  const float size = static_cast<float>(norm.size);
  for (std::int64_t row = 0; row < norm.rows; ++row) {
    const float* x = norm.x + row * norm.x_stride;
    const float total = sum_of_row(
        norm.size, [&](std::int64_t i, std::int64_t n)
                       __attribute__((always_inline)) { return load_some(x + i, n); });
    const Vector mean = fill(total / size);
    const float squares = sum_of_row(
        norm.size, [&](std::int64_t i, std::int64_t n) __attribute__((always_inline)) {
          Vector centred = sub(load_some(x + i, n), mean);
          if (n < kLanes) centred = keep_first(centred, n, fill(0));
          return mul(centred, centred);
        });
    const float variance = squares / size;
    const Vector factor = fill(1.0f / __builtin_sqrtf(variance + static_cast<float>(norm.eps)));
    for (std::int64_t i = 0; i < norm.size; i += kLanes) {
      const std::int64_t n = norm.size - i;
      const Vector centred = sub(load_some(x + i, n), mean);
      const Vector y =
          fma(mul(centred, factor), load_some(norm.weight + i, n), load_some(norm.bias + i, n));
      if (norm.out != nullptr) store_some(norm.out + row * norm.out_stride + i, y, n);
      if (norm.narrow_out != nullptr)
        store_some(static_cast<Element*>(norm.narrow_out) + row * norm.narrow_stride + i, y, n);
    }
  }
}

template <typename Element>
static void narrow(const float* x, std::ptrdiff_t x_stride, std::int64_t rows, std::int64_t size,
                   void* out, std::ptrdiff_t out_stride) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < size; i += kLanes)
      store_some(static_cast<Element*>(out) + row * out_stride + i,
                 load_some(x + row * x_stride + i, size - i), size - i);
}

// In blocks of rows: of thousands, one chain of sums would lose digits.
template <typename Element>
static void means_of_columns(const Element* x, std::ptrdiff_t stride, std::int64_t rows,
                             std::int64_t size, float* means) {
  constexpr std::int64_t kRows = 64;
  const Vector share = fill(1.0f / static_cast<float>(rows));
  for (std::int64_t i = 0; i < size; i += kLanes) {
    Vector total = fill(0);
    for (std::int64_t row = 0; row < rows;) {
      Vector block = fill(0);
      for (const std::int64_t end = row + kRows; row < rows && row < end; ++row)
        block = add(block, load_some(x + row * stride + i, size - i));
      total = add(total, block);
    }
    store_some(means + i, mul(total, share), size - i);
  }
}

static void column_means(const float* x, std::ptrdiff_t stride, std::int64_t rows,
                         std::int64_t size, float* means) {
  means_of_columns(x, stride, rows, size, means);
}
template <typename Element>
static void operand_means(const void* x, std::ptrdiff_t stride, std::int64_t rows,
                          std::int64_t size, float* means) {
  means_of_columns(static_cast<const Element*>(x), stride, rows, size, means);
}

static void sigmoids(float* x, std::int64_t size) {
  for (std::int64_t i = 0; i < size; i += kLanes)
    store_some(x + i, sigmoid(load_some(x + i, size - i)), size - i);
}

template <typename Element>
static void scale_columns(void* x, std::ptrdiff_t stride, std::int64_t rows, std::int64_t size,
                          const float* factors) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < size; i += kLanes) {
      auto* at = static_cast<Element*>(x) + row * stride + i;
      store_some(at, mul(load_some(at, size - i), load_some(factors + i, size - i)), size - i);
    }
}

static void sum_of_three(const float* a, const float* b, const float* c, std::int64_t size,
                         float* out) {
  for (std::int64_t i = 0; i < size; i += kLanes) {
    const std::int64_t n = size - i;
    store_some(out + i, add(add(load_some(a + i, n), load_some(b + i, n)), load_some(c + i, n)), n);
  }
}

}  // namespace bifocal::nn::cpu
