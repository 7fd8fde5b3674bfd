#pragma once
// Packed matrix products, on a vector_*.h and element.h.
//
// B [depth, columns] is packed into panels of up to kTileVectors vectors of columns, each panel
// [depth / kDepth][vectors][kLanes][kDepth], padded with zeros to whole vectors and steps. A tile
// is up to kTileRows rows by one panel, its sums in registers over the whole depth: a number of C
// is one chain of additions in the order of the depth, whatever tile it falls into.

#include "element.h"
#include "elementwise.h"

namespace bifocal::nn::cpu {

BIFOCAL_INLINE constexpr std::int64_t least(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
BIFOCAL_INLINE std::int64_t blocks_of(std::int64_t n, std::int64_t size) {
  return (n + size - 1) / size;
}

// Vectors of the next panel where `left` are to come: no panel of one where two of two will do.
BIFOCAL_INLINE std::int64_t panel_vectors(std::int64_t left) {
  if (kTileVectors >= 3 && left == kTileVectors + 1) return kTileVectors - 1;
  return least(left, kTileVectors);
}

// out[r][j] = sum over depth of A[r] B[:, j], for kRows rows and kVectors vectors of columns.
template <typename Element, int kRows, int kVectors, int kLines>
static __attribute__((noinline)) void tile(const Element* a, std::ptrdiff_t a_stride,
                                           const Element* b, std::int64_t depth, const char* next,
                                           float* out, std::ptrdiff_t out_stride) {
  using P = Product<Element>;
  constexpr std::int64_t kStep = P::kDepth;
  constexpr std::int64_t kWeights = kVectors * kLanes * kStep;
  Vector sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[r][j] = fill(0);

  const auto step = [&](auto broadcast) __attribute__((always_inline)) {
    typename P::Weights w[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) w[j] = P::weights(b + j * kLanes * kStep);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const typename P::Weights x = broadcast(a + r * a_stride);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[r][j] = P::step(sums[r][j], x, w[j]);
    }
    a += kStep;
    b += kWeights;
  };
  const std::int64_t steps = depth / kStep;
#pragma GCC unroll 1
  for (std::int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 4
    for (int line = 0; line < kLines; ++line) prefetch(next + 64 * line);
    next += 64 * kLines;
    step([](const Element* p) __attribute__((always_inline)) { return P::broadcast(p); });
  }
  if constexpr (kStep > 1) {
    if (depth % kStep != 0)
      step([](const Element* p) __attribute__((always_inline)) { return P::broadcast_last(p); });
  }

#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) store(out + r * out_stride + j * kLanes, sums[r][j]);
}

template <typename Element>
using Tile = void (*)(const Element* a, std::ptrdiff_t a_stride, const Element* b,
                      std::int64_t depth, const char* next, float* out, std::ptrdiff_t out_stride);

template <typename Element, int kRows, int kLines>
static Tile<Element> tile_of_vectors(std::int64_t vectors) {
  switch (vectors) {
    case 1:
      return tile<Element, kRows, 1, kLines>;
    case 2:
      return tile<Element, kRows, 2, kLines>;
    default:
      return tile<Element, kRows, kTileVectors, kLines>;
  }
}

template <typename Element, int kLines>
static Tile<Element> tile_of(std::int64_t rows, std::int64_t vectors) {
  switch (rows) {
    case 1:
      return tile_of_vectors<Element, 1, kLines>(vectors);
    case 2:
      return tile_of_vectors<Element, 2, kLines>(vectors);
    case 3:
      return tile_of_vectors<Element, 3, kLines>(vectors);
    case 4:
      return tile_of_vectors<Element, least(4, kTileRows), kLines>(vectors);
    case 5:
      return tile_of_vectors<Element, least(5, kTileRows), kLines>(vectors);
    case 6:
      return tile_of_vectors<Element, least(6, kTileRows), kLines>(vectors);
    case 7:
      return tile_of_vectors<Element, least(7, kTileRows), kLines>(vectors);
    default:
      return tile_of_vectors<Element, kTileRows, kLines>(vectors);
  }
}

// Elements of one packed panel.
template <typename Element>
static std::int64_t panel_elements(std::int64_t depth, std::int64_t vectors) {
  constexpr std::int64_t kStep = Product<Element>::kDepth;
  return blocks_of(depth, kStep) * kStep * vectors * kLanes;
}

static std::int64_t panel_edge(std::int64_t columns, std::int64_t column) {
  std::int64_t edge = 0;
  for (std::int64_t left = blocks_of(columns, kLanes);;) {
    const std::int64_t vectors = panel_vectors(left);
    if (column < edge + vectors * kLanes) return edge;
    edge += vectors * kLanes;
    left -= vectors;
  }
}

template <typename Element>
static std::size_t packed_bytes(std::int64_t depth, std::int64_t columns) {
  const std::int64_t elements = panel_elements<Element>(depth, blocks_of(columns, kLanes));
  return static_cast<std::size_t>(
      blocks_of(elements * static_cast<std::int64_t>(sizeof(Element)), 64) * 64);
}

BIFOCAL_INLINE void narrow_to(float x, float* out) { *out = x; }
BIFOCAL_INLINE void narrow_to(float x, Bf16* out) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const std::uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *out = static_cast<Bf16>(x == x ? rounded : (bits >> 16) | 0x40);
}

template <typename Element>
static void pack(const float* weight, std::int64_t depth, std::int64_t columns, void* packed) {
  constexpr std::int64_t kStep = Product<Element>::kDepth;
  auto* out = static_cast<Element*>(packed);
  std::int64_t left = blocks_of(columns, kLanes);
  std::int64_t column = 0;
  while (left > 0) {
    const std::int64_t vectors = panel_vectors(left);
    for (std::int64_t k = 0; k < depth; k += kStep)
      for (std::int64_t lane = 0; lane < vectors * kLanes; ++lane)
        for (std::int64_t part = 0; part < kStep; ++part, ++out) {
          const bool there = column + lane < columns && k + part < depth;
          narrow_to(there ? weight[(column + lane) * depth + k + part] : 0.0f, out);
        }
    left -= vectors;
    column += vectors * kLanes;
  }
}

// One vector of sums on its way to C, `n` of its lanes: all where n is kLanes.
template <typename Element, typename Activated>
BIFOCAL_INLINE void finish_vector(const Gemm& gemm, Vector x, std::int64_t row, std::int64_t column,
                                  std::int64_t n, Activated activated) {
  const bool whole = n == kLanes;
  const auto read = [&](const float* p) __attribute__((always_inline)) {
    return whole ? load(p) : load_first(p, n);
  };
  if (gemm.bias != nullptr) x = add(x, read(gemm.bias + column));
  x = activated(x);
  if (gemm.residual != nullptr)
    x = add(x, read(gemm.residual + row * gemm.residual_stride + column));
  const auto write = [&](auto* p) __attribute__((always_inline)) {
    if (whole)
      store(p, x);
    else
      store_first(p, x, n);
  };
  if (gemm.c != nullptr)
    write(gemm.c + row * gemm.c_stride + column);
  else
    write(static_cast<Element*>(gemm.narrow_c) + row * gemm.c_stride + column);
}

// The tile's sums to C: `rows` rows from `row`, `columns` columns from `column`.
template <typename Element>
static void finish_tile(const Gemm& gemm, const float* sums, std::ptrdiff_t stride,
                        std::int64_t row, std::int64_t rows, std::int64_t column,
                        std::int64_t columns) {
  with_activation(gemm.activated, gemm.activation, [&](auto activated) {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < columns; j += kLanes)
        finish_vector<Element>(gemm, load(sums + r * stride + j), row + r, column + j,
                               least(kLanes, columns - j), activated);
  });
}

template <typename Element>
static void gemm(const Gemm& gemm) {
  constexpr std::int64_t kPanel = kTileVectors * kLanes;
  alignas(64) float sums[kTileRows * kPanel];
  const auto* a = static_cast<const Element*>(gemm.a);
  const auto* panel = static_cast<const Element*>(gemm.weights);
  const std::int64_t last = gemm.last_column == 0 ? gemm.columns : gemm.last_column;
  std::int64_t left = blocks_of(gemm.columns, kLanes);
  for (std::int64_t column = 0; column < last;) {
    const std::int64_t vectors = panel_vectors(left);
    const Element* next = panel + panel_elements<Element>(gemm.depth, vectors);
    if (column + vectors * kLanes > gemm.first_column) {
      const std::int64_t columns = least(vectors * kLanes, gemm.columns - column);
      // The weights of the next panel come to the second-level cache while this one is used.
      const char* ahead = reinterpret_cast<const char*>(next);
      const std::int64_t line_steps = blocks_of(gemm.depth, Product<Element>::kDepth);
      const char* end = ahead + line_steps * 64 * vectors;
      for (std::int64_t row = 0; row < gemm.rows; row += kTileRows) {
        const std::int64_t rows = least(kTileRows, gemm.rows - row);
        const auto run =
            ahead < end ? tile_of<Element, 1>(rows, vectors) : tile_of<Element, 0>(rows, vectors);
        run(a + row * gemm.a_stride, gemm.a_stride, panel, gemm.depth, ahead, sums, kPanel);
        ahead += line_steps * 64;
        finish_tile<Element>(gemm, sums, kPanel, row, rows, column, columns);
      }
    }
    panel = next;
    left -= vectors;
    column += vectors * kLanes;
  }
}

}  // namespace bifocal::nn::cpu
