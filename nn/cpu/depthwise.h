#pragma once
// Depthwise convolution of a map that a 1 x 1 convolution expands on the way (MBConv, Sandler et
// al. 2018), on gemm.h's tiles. Panel by panel of channels, as gemm.h packs them, `kernel` rows of
// the expanded map, and a few more of a narrow one, stand in a ring that stays in the first-level
// cache: the whole expanded map, the largest tensor of a block, never exists.

#include "gemm.h"
#include "rows.h"

namespace bifocal::nn::cpu {

constexpr std::int64_t kMostOutputs = 8;  // pixels whose sums are in registers together

// From pixel to pixel of the ring and of what stands beside it: known when this is compiled, as
// addresses reckoned at run time cost as much as the sums.
template <typename Tiles>
static constexpr std::int64_t kPixel = std::int64_t{Tiles::kVectors} * kLanes;

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
  return static_cast<std::size_t>(pixels * kPixel<Tiles>);
}

// One panel of channels: its ring, and its weights, kPixel<Tiles> floats a pixel of which the first
// `lanes` are used.
template <typename Tiles>
struct DepthwisePanel {
  using Element = typename Tiles::Element;
  std::int64_t first_channel;
  std::int64_t channels;
  std::int64_t lanes;     // the channels, in whole vectors
  const Element* expand;  // packed [depth, lanes]
  float* weights;         // [kernel * kernel] pixels
  float* bias;            // one
  float* expand_bias;     // one
  float* sums;            // one, of all outputs so far
  float* block;           // [Tiles::kRows], of several rows
  std::int64_t height;    // of the ring
  float* ring;            // [height, ring_width]
};

// `rows` rows of the panel's channels to pixels, zeros behind.
template <typename Tiles, typename From>
static void widen_rows(const DepthwisePanel<Tiles>& panel, const From* from, std::ptrdiff_t stride,
                       std::int64_t rows, float* to) {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < panel.lanes; i += kLanes)
      store(to + row * kPixel<Tiles> + i, load_some(from + row * stride + i, panel.channels - i));
}

static void fill_zeros(float* to, std::int64_t count) {
  for (std::int64_t i = 0; i < count; i += kLanes) store(to + i, fill(0));
}

template <typename Tiles>
static void begin_panel(const Depthwise& job, const DepthwisePanel<Tiles>& panel) {
  widen_rows(panel, job.weights + panel.first_channel, job.channels, job.kernel * job.kernel,
             panel.weights);
  widen_rows(panel, job.bias + panel.first_channel, 0, 1, panel.bias);
  if (job.expand_weights != nullptr)
    widen_rows(panel, job.expand_bias + panel.first_channel, 0, 1, panel.expand_bias);
  fill_zeros(panel.sums, panel.lanes);
  fill_zeros(panel.ring, panel.height * ring_width(job) * kPixel<Tiles>);  // the padding
}

// `count` rows of the map from y on, expanded, to the ring.
template <typename Tiles, typename Activated>
static __attribute__((noinline)) void fill_ring(Tiles& tiles, const Depthwise& job,
                                                const DepthwisePanel<Tiles>& panel, std::int64_t y,
                                                std::int64_t count, Activated activated) {
  const auto ring_row = [&](std::int64_t row) {
    return panel.ring + (row % panel.height * ring_width(job) + job.pad_left) * kPixel<Tiles>;
  };
  const std::int64_t columns = least(job.width, ring_width(job) - job.pad_left);
  const auto* x = static_cast<const typename Tiles::Element*>(job.x) + y * job.width * job.depth;
  if (job.expand_weights == nullptr) {
    widen_rows(panel, x + panel.first_channel, job.depth, columns, ring_row(y));
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
    tiles.multiply(x + pixel * job.depth, job.depth, rows, panel.expand, panel.lanes / kLanes,
                   job.depth, Ahead(), expanded + pixel * kPixel<Tiles>, kPixel<Tiles>);
    pixel += rows;
  }
  for (std::int64_t row = y; row < y + count; ++row, expanded += columns * kPixel<Tiles>) {
    float* to = ring_row(row);
    for (std::int64_t j = 0; j < panel.lanes; j += kLanes) {
      const Vector bias = load(panel.expand_bias + j);
      for (std::int64_t i = j; i < columns * kPixel<Tiles>; i += kPixel<Tiles>)
        store(to + i, activated(add(load(expanded + i), bias)));
    }
  }
}

// Where an output row looks: the rows of the kernel that are in the map, and the first one's in the
// ring.
struct RowsSeen {
  std::int64_t first, last, slot;
};

// Of an output row, kOutputs pixels from x, one vector of channels. kKernel and kStride are the
// convolution's, or 0 where they are not known here: loops over what is known are unrolled.
template <typename Tiles, int kOutputs, int kKernel, int kStride>
BIFOCAL_INLINE void convolve(const Depthwise& job, const DepthwisePanel<Tiles>& panel,
                             RowsSeen seen, std::int64_t x, std::int64_t lane, Vector* sums) {
  constexpr std::int64_t kFloats = kPixel<Tiles>;
  const std::int64_t kernel = kKernel == 0 ? job.kernel : kKernel;
  const std::int64_t stride = kStride == 0 ? job.stride : kStride;
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i) sums[i] = load(panel.bias + lane);
  const std::int64_t row_floats = ring_width(job) * kFloats;
  const float* const start = panel.ring + x * stride * kFloats + lane;
  const float* weight = panel.weights + seen.first * kernel * kFloats + lane;
  for (std::int64_t ky = seen.first; ky < seen.last; ++ky) {
    const float* in = start + seen.slot * row_floats;
#pragma GCC unroll 8
    for (std::int64_t kx = 0; kx < kernel; ++kx) {
      const Vector w = load(weight + kx * kFloats);
#pragma GCC unroll 8
      for (int i = 0; i < kOutputs; ++i)
        sums[i] = fma(load(in + (i * stride + kx) * kFloats), w, sums[i]);
    }
    weight += kernel * kFloats;
    if (++seen.slot == panel.height) seen.slot = 0;
  }
}

// Activates and stores them -> their sum.
template <int kOutputs, typename Element, typename Activated>
BIFOCAL_INLINE Vector finish_pixels(Vector* sums, Element* out, std::ptrdiff_t stride,
                                    std::int64_t n, Activated activated) {
  Vector total = fill(0);
#pragma GCC unroll 8
  for (int i = 0; i < kOutputs; ++i, out += stride) {
    const Vector y = activated(sums[i]);
    store_some(out, y, n);
    total = i == 0 ? y : add(total, y);
  }
  return total;
}

// Not inlined, nor is fill_ring: in one function with the rest their loops lose registers.
template <int kKernel, int kStride, typename Tiles, typename Activated>
static __attribute__((noinline)) void depthwise_row(const Depthwise& job,
                                                    const DepthwisePanel<Tiles>& panel,
                                                    std::int64_t y, Activated activated) {
  const std::int64_t top = y * job.stride - job.pad_top;
  const std::int64_t first = top < 0 ? -top : 0;
  const RowsSeen seen{first, least(job.kernel, job.height - top), (top + first) % panel.height};
  auto* const out = static_cast<typename Tiles::Element*>(job.out) +
                    y * job.out_width * job.out_stride + panel.first_channel;
  const std::int64_t blocks = blocks_of(job.out_width, kMostOutputs);
  for (std::int64_t lane = 0; lane < panel.channels; lane += kLanes) {
    // A row's sum apart from the panel's: of thousands of pixels, one chain would lose digits.
    Vector total = fill(0);
    std::int64_t x = 0;
    for (std::int64_t i = 0; i < blocks; ++i) {
      const std::int64_t outputs = (job.out_width - x) / (blocks - i);
      const auto pixels = [&]<int kOutputs>() __attribute__((always_inline)) {
        Vector sums[kOutputs];
        convolve<Tiles, kOutputs, kKernel, kStride>(job, panel, seen, x, lane, sums);
        total =
            add(total, finish_pixels<kOutputs>(sums, out + x * job.out_stride + lane,
                                               job.out_stride, panel.channels - lane, activated));
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

// The kernels and strides of the EfficientNets.
template <typename Tiles, typename Activated>
static void any_depthwise_row(const Depthwise& job, const DepthwisePanel<Tiles>& panel,
                              std::int64_t y, Activated activated) {
  if (job.kernel == 3 && job.stride == 1) return depthwise_row<3, 1>(job, panel, y, activated);
  if (job.kernel == 3 && job.stride == 2) return depthwise_row<3, 2>(job, panel, y, activated);
  if (job.kernel == 5 && job.stride == 1) return depthwise_row<5, 1>(job, panel, y, activated);
  if (job.kernel == 5 && job.stride == 2) return depthwise_row<5, 2>(job, panel, y, activated);
  depthwise_row<0, 0>(job, panel, y, activated);
}

template <typename Tiles, typename Activated>
static void depthwise_panel(Tiles& tiles, const Depthwise& job, const DepthwisePanel<Tiles>& panel,
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
    any_depthwise_row(job, panel, y, activated);
  }
  if (job.means == nullptr) return;
  const Vector share = fill(1.0f / static_cast<float>(job.out_height * job.out_width));
  for (std::int64_t i = 0; i < panel.channels; i += kLanes)
    store_some(job.means + panel.first_channel + i, mul(load(panel.sums + i), share),
               panel.channels - i);
}

template <typename Tiles>
static void depthwise(const Depthwise& job) {
  Tiles tiles(job.depth);
  DepthwisePanel<Tiles> panel{};
  panel.expand = static_cast<const typename Tiles::Element*>(job.expand_weights);
  panel.weights = job.scratch;
  panel.bias = panel.weights + job.kernel * job.kernel * kPixel<Tiles>;
  panel.expand_bias = panel.bias + kPixel<Tiles>;
  panel.sums = panel.expand_bias + kPixel<Tiles>;
  panel.block = panel.sums + kPixel<Tiles>;
  panel.height = ring_height<Tiles>(job);
  panel.ring = panel.block + Tiles::kRows * kPixel<Tiles>;
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
