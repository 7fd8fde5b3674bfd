#pragma once
// Packed matrix products, on a vector_*.h and element.h.
//
// B [depth, columns] is packed into panels of a few vectors of columns, each panel
// [depth / kPair][vectors][kLanes][kPair], where kPair numbers of the depth are multiplied by one
// instruction; padded with zeros to whole vectors and steps. A block of rows meets one panel at a
// time, its sums in registers over the whole depth: a number of C is one chain of additions in the
// order of the depth, whatever block it falls into (with AMX, of what its instruction sums of a
// step).
//
// How a block meets a panel is what `Tiles` says: VectorTiles here, in the vectors' registers, or
// tiles_amx.h. All that multiplies (this file, attention.h, depthwise.h) is written on it:
//
//   using Element                      float, Bf16, or of gemm_int8.h Quantised
//   kRows, kVectors                    of a block and of a panel, at most
//   kPair, kDepth                      what a panel's depth is interleaved by and padded to
//   Tiles(depth)                       that of its products, or kDepth where they have several
//   block_rows(rows)                   of the blocks that so many rows are best divided into
//   multiply(a, a_stride, rows, panel, vectors, depth, ahead, out, out_stride)

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
template <typename Tiles>
BIFOCAL_INLINE std::int64_t panel_vectors(std::int64_t left) {
  if (Tiles::kVectors >= 3 && left == Tiles::kVectors + 1) return Tiles::kVectors - 1;
  return least(left, Tiles::kVectors);
}

// What is wanted in the second-level cache next, and how much of it a block is to bring: memory
// answers no faster when asked for all at once, and what computes meanwhile waits.
struct Ahead {
  const char* at = nullptr;
  std::int64_t bytes = 0;  // a block
};
// Over more blocks than these it is not worth asking for less in each.
constexpr std::int64_t kBlocksAhead = 8;
// Some of it, while a step of a product computes.
BIFOCAL_INLINE void bring(const char*& at, std::int64_t bytes) {
  prefetch(at);
  for (std::int64_t line = 64; line < bytes; line += 64) prefetch(at + line);
  at += bytes;
}

// out[r][j] = sum over depth of A[r] B[:, j], for kRows rows and kVectors vectors of columns.
template <typename Element, int kRows, int kVectors, bool kAhead>
static __attribute__((noinline)) void tile(const Element* a, std::ptrdiff_t a_stride,
                                           const Element* b, std::int64_t depth, Ahead ahead,
                                           float* out, std::ptrdiff_t out_stride) {
  using P = Product<Element>;
  constexpr std::int64_t kStep = P::kDepth;
  constexpr std::int64_t kWeights = kVectors * kLanes * kStep;
  typename P::Sums sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sums[r][j] = typename P::Sums{};

  const auto step = [&](auto broadcast) __attribute__((always_inline)) {
    typename P::Weights w[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) w[j] = P::weights(b + j * kLanes * kStep);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto x = broadcast(a + r * a_stride);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) sums[r][j] = P::step(sums[r][j], x, w[j]);
    }
    a += kStep;
    b += kWeights;
  };
  const std::int64_t steps = depth / kStep;
#pragma GCC unroll 1
  for (std::int64_t i = 0; i < steps; ++i) {
    if (kAhead) bring(ahead.at, ahead.bytes);
    step([](const Element* p) __attribute__((always_inline)) { return P::broadcast(p); });
  }
  if constexpr (kStep > 1) {
    if (depth % kStep != 0)
      step([](const Element* p) __attribute__((always_inline)) { return P::broadcast_last(p); });
  }

#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j)
      store(out + r * out_stride + j * kLanes, (Vector)sums[r][j]);  // integers by their bits
}

template <typename Element>
using Tile = void (*)(const Element* a, std::ptrdiff_t a_stride, const Element* b,
                      std::int64_t depth, Ahead ahead, float* out, std::ptrdiff_t out_stride);

template <typename Element, int kRows, bool kAhead>
static Tile<Element> tile_of_vectors(std::int64_t vectors) {
  switch (vectors) {
    case 1:
      return tile<Element, kRows, 1, kAhead>;
    case 2:
      return tile<Element, kRows, 2, kAhead>;
    default:
      return tile<Element, kRows, kTileVectors, kAhead>;
  }
}

template <typename Element, bool kAhead>
static Tile<Element> tile_of(std::int64_t rows, std::int64_t vectors) {
  switch (rows) {
    case 1:
      return tile_of_vectors<Element, 1, kAhead>(vectors);
    case 2:
      return tile_of_vectors<Element, 2, kAhead>(vectors);
    case 3:
      return tile_of_vectors<Element, 3, kAhead>(vectors);
    case 4:
      return tile_of_vectors<Element, least(4, kTileRows), kAhead>(vectors);
    case 5:
      return tile_of_vectors<Element, least(5, kTileRows), kAhead>(vectors);
    case 6:
      return tile_of_vectors<Element, least(6, kTileRows), kAhead>(vectors);
    case 7:
      return tile_of_vectors<Element, least(7, kTileRows), kAhead>(vectors);
    default:
      return tile_of_vectors<Element, kTileRows, kAhead>(vectors);
  }
}

// A tile of rows in the registers of vectors.
template <typename OneElement>
struct VectorTiles {
  using Element = OneElement;
  static constexpr std::int64_t kRows = kTileRows;
  static constexpr std::int64_t kVectors = kTileVectors;
  static constexpr std::int64_t kPair = Product<Element>::kDepth;
  static constexpr std::int64_t kDepth = kPair;

  explicit BIFOCAL_INLINE_MEMBER VectorTiles(std::int64_t /*depth*/) {}
  static BIFOCAL_INLINE_MEMBER std::int64_t block_rows(std::int64_t /*rows*/) { return kRows; }
  // out [rows, vectors * kLanes] = A [rows, depth] times a panel; rows is at most kRows.
  BIFOCAL_INLINE_MEMBER void multiply(const Element* a, std::ptrdiff_t a_stride, std::int64_t rows,
                                      const Element* panel, std::int64_t vectors,
                                      std::int64_t depth, Ahead ahead, float* out,
                                      std::ptrdiff_t out_stride) {
    const auto run = ahead.bytes > 0 ? tile_of<Element, true>(rows, vectors)
                                     : tile_of<Element, false>(rows, vectors);
    ahead.bytes = blocks_of(ahead.bytes, blocks_of(depth, kPair));
    run(a, a_stride, panel, depth, ahead, out, out_stride);
  }
};

// Elements of one packed panel.
template <typename Tiles>
static std::int64_t panel_elements(std::int64_t depth, std::int64_t vectors) {
  return blocks_of(depth, Tiles::kDepth) * Tiles::kDepth * vectors * kLanes;
}

template <typename Tiles>
static std::int64_t panel_edge(std::int64_t columns, std::int64_t column) {
  std::int64_t edge = 0;
  for (std::int64_t left = blocks_of(columns, kLanes);;) {
    const std::int64_t vectors = panel_vectors<Tiles>(left);
    if (column < edge + vectors * kLanes) return edge;
    edge += vectors * kLanes;
    left -= vectors;
  }
}

template <typename Tiles>
static std::size_t packed_bytes(std::int64_t depth, std::int64_t columns) {
  const std::int64_t elements = panel_elements<Tiles>(depth, blocks_of(columns, kLanes));
  return static_cast<std::size_t>(
      blocks_of(elements * static_cast<std::int64_t>(sizeof(typename Tiles::Element)), 64) * 64);
}

BIFOCAL_INLINE void narrow_to(float x, float* out) { *out = x; }
BIFOCAL_INLINE void narrow_to(float x, Bf16* out) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const std::uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *out = static_cast<Bf16>(x == x ? rounded : (bits >> 16) | 0x40);
}

template <typename Tiles>
static void pack(const float* weight, std::int64_t depth, std::int64_t columns, void* packed) {
  auto* out = static_cast<typename Tiles::Element*>(packed);
  std::int64_t left = blocks_of(columns, kLanes);
  std::int64_t column = 0;
  while (left > 0) {
    const std::int64_t vectors = panel_vectors<Tiles>(left);
    const std::int64_t padded = blocks_of(depth, Tiles::kDepth) * Tiles::kDepth;
    for (std::int64_t k = 0; k < padded; k += Tiles::kPair)
      for (std::int64_t lane = 0; lane < vectors * kLanes; ++lane)
        for (std::int64_t part = 0; part < Tiles::kPair; ++part, ++out) {
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
  if (gemm.c != nullptr) write(gemm.c + row * gemm.c_stride + column);
  if (gemm.narrow_c != nullptr)
    write(static_cast<Element*>(gemm.narrow_c) + row * gemm.c_stride + column);
}

// A block's sums to C: `rows` rows from `row`, `columns` columns from `column`.
template <typename Element>
static void finish_block(const Gemm& gemm, const float* sums, std::ptrdiff_t stride,
                         std::int64_t row, std::int64_t rows, std::int64_t column,
                         std::int64_t columns) {
  with_activation(gemm.activated, gemm.activation, [&](auto activated) {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < columns; j += kLanes)
        finish_vector<Element>(gemm, load(sums + r * stride + j), row + r, column + j,
                               least(kLanes, columns - j), activated);
  });
}

template <typename Tiles>
static void gemm(const Gemm& gemm) {
  using Element = typename Tiles::Element;
  constexpr std::int64_t kPanel = Tiles::kVectors * kLanes;
  alignas(64) float sums[Tiles::kRows * kPanel];
  Tiles tiles(gemm.depth);
  const std::int64_t block = Tiles::block_rows(gemm.rows);
  const std::int64_t blocks = blocks_of(gemm.rows, block);
  const auto* a = static_cast<const Element*>(gemm.a);
  const auto* panel = static_cast<const Element*>(gemm.weights);
  const std::int64_t last = gemm.last_column == 0 ? gemm.columns : gemm.last_column;
  std::int64_t left = blocks_of(gemm.columns, kLanes);
  for (std::int64_t column = 0; column < last;) {
    const std::int64_t vectors = panel_vectors<Tiles>(left);
    const Element* next = panel + panel_elements<Tiles>(gemm.depth, vectors);
    if (column + vectors * kLanes > gemm.first_column) {
      const std::int64_t columns = least(vectors * kLanes, gemm.columns - column);
      // The weights of the next panel come to the second-level cache while this one is used.
      const char* behind = reinterpret_cast<const char*>(next);
      const char* const end = behind + (behind - reinterpret_cast<const char*>(panel));
      Ahead ahead{behind,
                  gemm.weights_near ? 0 : blocks_of(end - behind, least(blocks, kBlocksAhead))};
      for (std::int64_t row = 0; row < gemm.rows; row += block) {
        const std::int64_t rows = least(block, gemm.rows - row);
        tiles.multiply(a + row * gemm.a_stride, gemm.a_stride, rows, panel, vectors, gemm.depth,
                       ahead, sums, kPanel);
        ahead.at += ahead.bytes;
        if (ahead.at >= end) ahead.bytes = 0;
        finish_block<Element>(gemm, sums, kPanel, row, rows, column, columns);
      }
    }
    panel = next;
    left -= vectors;
    column += vectors * kLanes;
  }
}

}  // namespace bifocal::nn::cpu
