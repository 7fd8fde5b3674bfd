#pragma once
// Depthwise convolution of a map that a 1 x 1 convolution expands on the way (MBConv, Sandler et
// al. 2018), on gemm.h's tiles. Panel by panel of channels, as gemm.h packs them, `kernel` rows of
// the expanded map, and a few more of a narrow one, stand in a ring that stays in the first-level
// cache: the whole expanded map, the largest tensor of a block, never exists.

#include "gemm.h"
#include "rows.h"

namespace bifocal::nn::cpu {

constexpr std::int64_t kMostOutputs = 8;  // pixels whose sums are in registers together

// Pixels of a ring's row: the columns that some output sees, padding included.
static std::int64_t ring_width(const Depthwise& job) {
  return (job.out_width - 1) * job.stride + job.kernel;
}

// Rows of the map that are expanded together: of narrow ones as many as fill a block.
template <typename Tiles>
static std::int64_t rows_at_once(const Depthwise& job) {
  const bool whole = ring_width(job) - job.pad_left >= job.width;
  if (job.expand_weights == nullptr || !whole || 2 * job.width > Tiles::kRows) return 1;
  return least(Tiles::kRows / job.width, job.height);
}

// Rows of the ring: those that an output row sees, and those that are expanded with the last.
template <typename Tiles>
static std::int64_t ring_height(const Depthwise& job) {
  return job.kernel + rows_at_once<Tiles>(job) - 1;
}

template <typename Tiles>
static std::size_t depthwise_scratch(const Depthwise& job) {
  const std::int64_t pixels =
      ring_height<Tiles>(job) * ring_width(job) + job.kernel * job.kernel + Tiles::kRows + 3;
  return static_cast<std::size_t>(pixels * Tiles::kVectors * kLanes);
}

// One panel of channels: its ring, and its weights in whole vectors.
template <typename Element>
struct DepthwisePanel {
  std::int64_t first_channel;
  std::int64_t channels;  // the last panel's may be fewer than its lanes
  std::int64_t lanes;
  const Element* expand;  // packed [depth, lanes]
  float* weights;         // [kernel * kernel, lanes]
  float* bias;            // [lanes]
  float* expand_bias;     // [lanes]
  float* sums;            // [lanes], of all outputs so far
  float* block;           // [Tiles::kRows, lanes], of several rows
  std::int64_t height;    // of the ring
  float* ring;            // [height, ring_width, lanes]
};

// `rows` rows of `channels` to rows of floats in whole vectors, zeros behind.
template <typename Element>
static void widen_rows(const Element* from, std::ptrdiff_t stride, std::int64_t rows,
                       std::int64_t channels, float* to, std::int64_t lanes) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < lanes; i += kLanes) {
      const std::int64_t n = channels - i;
      store(to + row * lanes + i, n > 0 ? load_some(from + row * stride + i, n) : fill(0));
    }
}

static void fill_zeros(float* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kLanes) store(to + i, fill(0));
}

template <typename Element>
static void begin_panel(const Depthwise& job, const DepthwisePanel<Element>& panel) {
  const float* weights = job.weights + panel.first_channel;
  widen_rows(weights, job.channels, job.kernel * job.kernel, panel.channels, panel.weights,
             panel.lanes);
  widen_rows(job.bias + panel.first_channel, 0, 1, panel.channels, panel.bias, panel.lanes);
  if (job.expand_weights != nullptr)
    widen_rows(job.expand_bias + panel.first_channel, 0, 1, panel.channels, panel.expand_bias,
               panel.lanes);
  fill_zeros(panel.sums, panel.lanes);
  fill_zeros(panel.ring, panel.height * ring_width(job) * panel.lanes);  // the padding
}

// `count` rows of the map from y on, expanded, to the ring.
template <typename Tiles, typename Activated>
static __attribute__((noinline)) void fill_ring(
    Tiles& tiles, const Depthwise& job, const DepthwisePanel<typename Tiles::Element>& panel,
    std::int64_t y, std::int64_t count, Activated activated) {
  const std::int64_t lanes = panel.lanes;
  const auto ring_row = [&](std::int64_t row) {
    return panel.ring + (row % panel.height * ring_width(job) + job.pad_left) * lanes;
  };
  const std::int64_t columns = least(job.width, ring_width(job) - job.pad_left);
  const auto* x = static_cast<const typename Tiles::Element*>(job.x) + y * job.width * job.depth;
  if (job.expand_weights == nullptr) {
    widen_rows(x + panel.first_channel, job.depth, columns, panel.channels, ring_row(y), lanes);
    return;
  }
  // One row is expanded where it stays; several, where they stand behind one another.
  float* expanded = count == 1 ? ring_row(y) : panel.block;
  // Blocks of nearly one height: one of a single row takes half as long as one of six.
  const std::int64_t pixels = count * columns;
  const std::int64_t blocks = blocks_of(pixels, Tiles::kRows);
  std::int64_t pixel = 0;
  for (std::int64_t i = 0; i < blocks; ++i) {
    const std::int64_t rows = (pixels - pixel) / (blocks - i);
    Ahead none;
    tiles.multiply(x + pixel * job.depth, job.depth, rows, panel.expand, lanes / kLanes, job.depth,
                   none, expanded + pixel * lanes, lanes);
    pixel += rows;
  }
  for (std::int64_t row = y; row < y + count; ++row, expanded += columns * lanes) {
    float* to = ring_row(row);
    for (std::int64_t j = 0; j < lanes; j += kLanes) {
      const Vector bias = load(panel.expand_bias + j);
      for (std::int64_t i = j; i < columns * lanes; i += lanes)
        store(to + i, activated(add(load(expanded + i), bias)));
    }
  }
}

// Of output row y, kOutputs pixels from x, one vector of channels: their sum.
template <int kOutputs, typename Element, typename Activated>
static Vector depthwise_pixels(const Depthwise& job, const DepthwisePanel<Element>& panel,
                               std::int64_t y, std::int64_t x, std::int64_t lane,
                               Activated activated) {
  const std::int64_t lanes = panel.lanes;
  const std::int64_t row_floats = ring_width(job) * lanes;
  const std::int64_t step = job.stride * lanes;
  const std::int64_t top = y * job.stride - job.pad_top;
  const std::int64_t first = top < 0 ? -top : 0;
  const std::int64_t last = least(job.kernel, job.height - top);
  const float* weight = panel.weights + first * job.kernel * lanes + lane;
  std::int64_t slot = (top + first) % panel.height;

  Vector sums[kOutputs];
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i) sums[i] = load(panel.bias + lane);
  for (std::int64_t ky = first; ky < last; ++ky) {
    const float* in = panel.ring + slot * row_floats + x * step + lane;
#pragma GCC unroll 1
    for (std::int64_t kx = 0; kx < job.kernel; ++kx) {
      const Vector w = load(weight);
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i) sums[i] = fma(load(in + i * step), w, sums[i]);
      in += lanes;
      weight += lanes;
    }
    if (++slot == panel.height) slot = 0;
  }

  Element* out = static_cast<Element*>(job.out) + (y * job.out_width + x) * job.out_stride +
                 panel.first_channel + lane;
  const std::int64_t n = panel.channels - lane;
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i) {
    sums[i] = activated(sums[i]);
    store_some(out + i * job.out_stride, sums[i], n);
  }
#pragma GCC unroll 8
  for (int i = 1; i < kOutputs; ++i) sums[0] = add(sums[0], sums[i]);
  return sums[0];
}

// Not inlined, nor is fill_ring: in one function with the rest their loops lose registers.
template <typename Element, typename Activated>
static __attribute__((noinline)) void depthwise_row(const Depthwise& job,
                                                    const DepthwisePanel<Element>& panel,
                                                    std::int64_t y, Activated activated) {
  const std::int64_t blocks = blocks_of(job.out_width, kMostOutputs);
  for (std::int64_t lane = 0; lane < panel.channels; lane += kLanes) {
    // A row's sum apart from the panel's: of thousands of pixels, one chain would lose digits.
    Vector total = fill(0);
    std::int64_t x = 0;
    for (std::int64_t i = 0; i < blocks; ++i) {
      const std::int64_t outputs = (job.out_width - x) / (blocks - i);
      const auto pixels = [&]<int kOutputs>() {
        total = add(total, depthwise_pixels<kOutputs>(job, panel, y, x, lane, activated));
      };
      switch (outputs) {
        case 1:
          pixels.template operator()<1>();
          break;
        case 2:
          pixels.template operator()<2>();
          break;
        case 3:
          pixels.template operator()<3>();
          break;
        case 4:
          pixels.template operator()<4>();
          break;
        case 5:
          pixels.template operator()<5>();
          break;
        case 6:
          pixels.template operator()<6>();
          break;
        case 7:
          pixels.template operator()<7>();
          break;
        default:
          pixels.template operator()<kMostOutputs>();
      }
      x += outputs;
    }
    store(panel.sums + lane, add(load(panel.sums + lane), total));
  }
}

template <typename Tiles, typename Activated>
static void depthwise_panel(Tiles& tiles, const Depthwise& job,
                            const DepthwisePanel<typename Tiles::Element>& panel,
                            Activated activated) {
  begin_panel(job, panel);
  std::int64_t done = 0;
  for (std::int64_t y = 0; y < job.out_height; ++y) {
    const std::int64_t seen = least(job.height, y * job.stride - job.pad_top + job.kernel);
    while (done < seen) {
      const std::int64_t rows = least(rows_at_once<Tiles>(job), job.height - done);
      fill_ring(tiles, job, panel, done, rows, activated);
      done += rows;
    }
    depthwise_row(job, panel, y, activated);
  }
  if (job.means == nullptr) return;
  const Vector share = fill(1.0f / static_cast<float>(job.out_height * job.out_width));
  for (std::int64_t i = 0; i < panel.channels; i += kLanes)
    store_some(job.means + panel.first_channel + i, mul(load(panel.sums + i), share),
               panel.channels - i);
}

template <typename Tiles>
static void depthwise(const Depthwise& job) {
  constexpr std::int64_t kPanel = Tiles::kVectors * kLanes;
  Tiles tiles;
  DepthwisePanel<typename Tiles::Element> panel{};
  panel.expand = static_cast<const typename Tiles::Element*>(job.expand_weights);
  panel.weights = job.scratch;
  panel.bias = panel.weights + job.kernel * job.kernel * kPanel;
  panel.expand_bias = panel.bias + kPanel;
  panel.sums = panel.expand_bias + kPanel;
  panel.block = panel.sums + kPanel;
  panel.height = ring_height<Tiles>(job);
  panel.ring = panel.block + Tiles::kRows * kPanel;
  const std::int64_t last = job.last_channel == 0 ? job.channels : job.last_channel;
  std::int64_t left = blocks_of(job.channels, kLanes);
  while (panel.first_channel < last) {
    const std::int64_t vectors = panel_vectors<Tiles>(left);
    panel.lanes = vectors * kLanes;
    panel.channels = least(panel.lanes, job.channels - panel.first_channel);
    if (panel.first_channel + panel.lanes > job.first_channel)
      with_activation(job.activated, job.activation,
                      [&](auto activated) { depthwise_panel(tiles, job, panel, activated); });
    if (panel.expand != nullptr) panel.expand += panel_elements<Tiles>(job.depth, vectors);
    panel.first_channel += panel.lanes;
    left -= vectors;
  }
}

}  // namespace bifocal::nn::cpu
