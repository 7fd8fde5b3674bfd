#pragma once
// Attention of one short sequence, on gemm.h's tiles: for each head, keys and values are packed as
// weights are, then each block of queries goes through scores, softmax and the weighted sum of
// values while it is in the first-level cache. All in float32.

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

static std::size_t attention_scratch(std::int64_t positions, std::int64_t head_size) {
  const std::int64_t keys = score_stride(positions) * head_size;
  const std::int64_t values = positions * value_columns(head_size);
  return static_cast<std::size_t>(keys + values + kTileRows * score_stride(positions) +
                                  kTileRows * value_columns(head_size));
}

// Row by row: 2^((score - highest) factor); gives 1 over their sum. What stands behind the
// positions is left alone.
BIFOCAL_INLINE float softmax(float* scores, std::int64_t positions, Vector factor) {
  Vector most = fill(-__builtin_inff());
  std::int64_t i = 0;
  for (; i + kLanes <= positions; i += kLanes) most = max(most, load(scores + i));
  if (i < positions)
    most = max(most, keep_first(load(scores + i), positions - i, fill(-__builtin_inff())));
  const Vector top = fill(highest(most));
  Vector total = fill(0);
  for (i = 0; i + kLanes <= positions; i += kLanes) {
    const Vector weight = exp2(mul(sub(load(scores + i), top), factor));
    store(scores + i, weight);
    total = add(total, weight);
  }
  if (i < positions) {
    const Vector weight = exp2(mul(sub(load(scores + i), top), factor));
    store(scores + i, weight);
    total = add(total, keep_first(weight, positions - i, fill(0)));
  }
  return 1.0f / sum(total);
}

// x [rows, size] row by row -> panels of its transpose: [size, rows] as gemm.h packs it.
static void pack_transposed(const float* x, std::ptrdiff_t stride, std::int64_t rows,
                            std::int64_t size, float* out) {
  std::int64_t left = blocks_of(rows, kLanes);
  std::int64_t row = 0;
  while (left > 0) {
    const std::int64_t vectors = panel_vectors(left);
    const std::int64_t width = vectors * kLanes;
    for (std::int64_t r = 0; r < width; ++r) {
      const bool there = row + r < rows;
      const float* from = x + (row + r) * stride;
      for (std::int64_t i = 0; i < size; ++i) out[i * width + r] = there ? from[i] : 0.0f;
    }
    out += size * width;
    row += width;
    left -= vectors;
  }
}

// x [rows, size] -> panels, as gemm.h packs them.
static void pack_rows(const float* x, std::ptrdiff_t stride, std::int64_t rows, std::int64_t size,
                      float* out) {
  std::int64_t left = blocks_of(size, kLanes);
  std::int64_t column = 0;
  while (left > 0) {
    const std::int64_t vectors = panel_vectors(left);
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t j = 0; j < vectors; ++j, out += kLanes)
        store(out, load_some(x + row * stride + column + j * kLanes, size - column - j * kLanes));
    left -= vectors;
    column += vectors * kLanes;
  }
}

// out [rows, columns in whole vectors] = A times panels.
static void multiply(const float* a, std::ptrdiff_t a_stride, std::int64_t rows,
                     const float* panels, std::int64_t depth, std::int64_t columns, float* out,
                     std::ptrdiff_t out_stride) {
  std::int64_t left = blocks_of(columns, kLanes);
  while (left > 0) {
    const std::int64_t vectors = panel_vectors(left);
    tile_of<float, 0>(rows, vectors)(a, a_stride, panels, depth, nullptr, out, out_stride);
    panels += depth * vectors * kLanes;
    out += vectors * kLanes;
    left -= vectors;
  }
}

template <typename Element>
static void attention(const Attention& job) {
  const std::int64_t size = job.head_size;
  const std::int64_t positions = job.positions;
  const std::int64_t width = score_stride(positions);
  const std::int64_t value_width = value_columns(size);
  float* keys = job.scratch;
  float* values = keys + width * size;
  float* scores = values + positions * value_width;
  float* summed = scores + kTileRows * width;
  // The softmax of q k / sqrt(size), by powers of two.
  const Vector factor = fill(kLog2E / __builtin_sqrtf(static_cast<float>(size)));
  for (std::int64_t head = 0; head < job.heads; ++head) {
    const std::ptrdiff_t offset = head * size;
    pack_transposed(job.key + offset, job.key_value_stride, positions, size, keys);
    pack_rows(job.value + offset, job.key_value_stride, positions, size, values);
    for (std::int64_t query = 0; query < job.queries; query += kTileRows) {
      const std::int64_t rows = least(kTileRows, job.queries - query);
      multiply(job.query + query * job.query_stride + offset, job.query_stride, rows, keys, size,
               positions, scores, width);
      float inverse[kTileRows];
      for (std::int64_t r = 0; r < rows; ++r)
        inverse[r] = softmax(scores + r * width, positions, factor);
      multiply(scores, width, rows, values, positions, size, summed, value_width);
      for (std::int64_t r = 0; r < rows; ++r) {
        auto* out = static_cast<Element*>(job.out) + (query + r) * job.out_stride + offset;
        for (std::int64_t i = 0; i < size; i += kLanes)
          store_some(out + i, mul(load(summed + r * value_width + i), fill(inverse[r])), size - i);
      }
    }
  }
}

}  // namespace bifocal::nn::cpu
