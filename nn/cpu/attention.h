#pragma once
// Attention of one short sequence, on gemm.h's tiles: for each head, keys and values are packed as
// weights are, then each block of queries goes through scores, softmax and the weighted sum of
// values while it is in the first-level cache. Scores, softmax and sums are float32.

#include "gemm.h"
#include "rows.h"

namespace bifocal::nn::cpu {

// Floats of a row of scores: the positions, in whole panels.
static std::int64_t score_stride(std::int64_t positions) {
  return blocks_of(positions, kLanes) * kLanes;
}

static std::int64_t value_columns(std::int64_t head_size) {
  return blocks_of(head_size, kLanes) * kLanes;
}

// What one head needs, in turn: keys and values, a block's queries and weights of values, all of
// the table's element; its scores, and what its weights make of the values, in floats.
template <typename Tiles>
struct AttentionScratch {
  using Element = typename Tiles::Element;
  static constexpr bool kNarrow = sizeof(Element) < sizeof(float);
  // In float32 a block's queries stand where they are, and its scores become the weights.
  std::int64_t keys, values, queries, weights, scores, summed;

  AttentionScratch(std::int64_t positions, std::int64_t head_size)
      : keys(panel_elements<Tiles>(head_size, blocks_of(positions, kLanes))),
        values(panel_elements<Tiles>(positions, blocks_of(head_size, kLanes))),
        queries(kNarrow ? Tiles::kRows * value_columns(head_size) : 0),
        weights(kNarrow ? Tiles::kRows * score_stride(positions) : 0),
        scores(Tiles::kRows * score_stride(positions)),
        summed(Tiles::kRows * value_columns(head_size)) {}
};

template <typename Tiles>
static std::size_t attention_scratch(std::int64_t positions, std::int64_t head_size) {
  const AttentionScratch<Tiles> scratch(positions, head_size);
  const std::int64_t elements = scratch.keys + scratch.values + scratch.queries + scratch.weights;
  const std::int64_t floats =
      elements * static_cast<std::int64_t>(sizeof(typename Tiles::Element)) / 4;
  return static_cast<std::size_t>(floats + scratch.scores + scratch.summed);
}

// Of one row: 2^((score - highest) factor) to `weights`, which may be the scores; gives 1 over
// their sum. What stands behind the positions, to a whole vector, is anything.
template <typename Element>
BIFOCAL_INLINE float softmax(const float* scores, std::int64_t positions, Vector factor,
                             Element* weights) {
  Vector most = fill(-__builtin_inff());
  std::int64_t i = 0;
  for (; i + kLanes <= positions; i += kLanes) most = max(most, load(scores + i));
  if (i < positions)
    most = max(most, keep_first(load(scores + i), positions - i, fill(-__builtin_inff())));
  const Vector top = fill(highest(most));
  Vector total = fill(0);
  for (i = 0; i + kLanes <= positions; i += kLanes) {
    const Vector weight = exp2(mul(sub(load(scores + i), top), factor));
    store(weights + i, weight);
    total = add(total, weight);
  }
  if (i < positions) {
    const Vector weight = exp2(mul(sub(load(scores + i), top), factor));
    store(weights + i, weight);
    total = add(total, keep_first(weight, positions - i, fill(0)));
  }
  return 1.0f / sum(total);
}

// x [rows, size] row by row -> panels of its transpose: [size, rows] as gemm.h packs it.
template <typename Tiles>
static void pack_transposed(const float* x, std::ptrdiff_t stride, std::int64_t rows,
                            std::int64_t size, typename Tiles::Element* out) {
  using Element = typename Tiles::Element;
  constexpr std::int64_t kPair = Tiles::kPair;
  const std::int64_t padded = blocks_of(size, Tiles::kDepth) * Tiles::kDepth;
  std::int64_t left = blocks_of(rows, kLanes);
  std::int64_t row = 0;
  while (left > 0) {
    const std::int64_t vectors = panel_vectors<Tiles>(left);
    const std::int64_t width = vectors * kLanes;
    for (std::int64_t r = 0; r < width; ++r) {
      const std::int64_t there = row + r < rows ? size : 0;
      const float* from = x + (row + r) * stride;
      Element* to = out + r * kPair;
      for (std::int64_t i = 0; i < padded; i += kLanes) {
        alignas(64) Element some[kLanes];
        store(some, i < there ? load_some(from + i, there - i) : fill(0));
        const std::int64_t end = least(kLanes, padded - i);
        for (std::int64_t k = 0; k < end; k += kPair, to += width * kPair)
          __builtin_memcpy(to, some + k, kPair * sizeof(Element));
      }
    }
    out += padded * width;
    row += width;
    left -= vectors;
  }
}

// x [rows, size] -> panels, as gemm.h packs them.
template <typename Tiles>
static void pack_rows(const float* x, std::ptrdiff_t stride, std::int64_t rows, std::int64_t size,
                      typename Tiles::Element* out) {
  const std::int64_t padded = blocks_of(rows, Tiles::kDepth) * Tiles::kDepth;
  std::int64_t left = blocks_of(size, kLanes);
  std::int64_t column = 0;
  while (left > 0) {
    const std::int64_t vectors = panel_vectors<Tiles>(left);
    for (std::int64_t row = 0; row < padded; row += Tiles::kPair)
      for (std::int64_t j = 0; j < vectors * kLanes; j += kLanes, out += kLanes * Tiles::kPair) {
        const auto read = [&](std::int64_t r) __attribute__((always_inline)) {
          return r < rows ? load_some(x + r * stride + column + j, size - column - j) : fill(0);
        };
        if constexpr (Tiles::kPair == 2)
          store_pairs(out, read(row), read(row + 1));
        else
          store(out, read(row));
      }
    left -= vectors;
    column += vectors * kLanes;
  }
}

// out [rows, columns in whole vectors] = A times panels, of one block of rows.
template <typename Tiles>
static void multiply(Tiles& tiles, const typename Tiles::Element* a, std::ptrdiff_t a_stride,
                     std::int64_t rows, const typename Tiles::Element* panels, std::int64_t depth,
                     std::int64_t columns, float* out, std::ptrdiff_t out_stride) {
  std::int64_t left = blocks_of(columns, kLanes);
  while (left > 0) {
    const std::int64_t vectors = panel_vectors<Tiles>(left);
    tiles.multiply(a, a_stride, rows, panels, vectors, depth, Ahead(), out, out_stride);
    panels += panel_elements<Tiles>(depth, vectors);
    out += vectors * kLanes;
    left -= vectors;
  }
}

template <typename Tiles>
static void attention(const Attention& job) {
  using Element = typename Tiles::Element;
  using Sizes = AttentionScratch<Tiles>;
  const std::int64_t size = job.head_size;
  const std::int64_t positions = job.positions;
  const std::int64_t width = score_stride(positions);
  const std::int64_t value_width = value_columns(size);
  const Sizes sizes(positions, size);
  auto* keys = reinterpret_cast<Element*>(job.scratch);
  Element* values = keys + sizes.keys;
  Element* narrowed = values + sizes.values;
  Element* narrow_weights = narrowed + sizes.queries;
  auto* scores = reinterpret_cast<float*>(narrow_weights + sizes.weights);
  float* summed = scores + sizes.scores;
  Tiles tiles(Tiles::kDepth);
  const std::int64_t block = Tiles::block_rows(job.queries);
  // The softmax of q k / sqrt(size), by powers of two.
  const Vector factor = fill(kLog2E / __builtin_sqrtf(static_cast<float>(size)));
  for (std::int64_t head = 0; head < job.heads; ++head) {
    const std::ptrdiff_t offset = head * size;
    pack_transposed<Tiles>(job.key + offset, job.key_value_stride, positions, size, keys);
    pack_rows<Tiles>(job.value + offset, job.key_value_stride, positions, size, values);
    for (std::int64_t query = 0; query < job.queries; query += block) {
      const std::int64_t rows = least(block, job.queries - query);
      const float* queries = job.query + query * job.query_stride + offset;
      if constexpr (Sizes::kNarrow) {
        narrow<Element>(queries, job.query_stride, rows, size, narrowed, value_width);
        multiply(tiles, narrowed, value_width, rows, keys, size, positions, scores, width);
      } else {
        multiply(tiles, queries, job.query_stride, rows, keys, size, positions, scores, width);
      }
      Element* weights;
      if constexpr (Sizes::kNarrow)
        weights = narrow_weights;
      else
        weights = scores;
      float inverse[Tiles::kRows];
      for (std::int64_t r = 0; r < rows; ++r)
        inverse[r] = softmax(scores + r * width, positions, factor, weights + r * width);
      multiply(tiles, weights, width, rows, values, positions, size, summed, value_width);
      for (std::int64_t r = 0; r < rows; ++r) {
        auto* out = static_cast<Element*>(job.out) + (query + r) * job.out_stride + offset;
        for (std::int64_t i = 0; i < size; i += kLanes)
          store_some(out + i, mul(load(summed + r * value_width + i), fill(inverse[r])), size - i);
      }
    }
  }
}

}  // namespace bifocal::nn::cpu
