#pragma once

#include <cstddef>
#include <cstdint>

#include "nn/cpu/kernels.h"
#include "vision/conv_weights.h"

namespace bifocal::vision {

struct Grid {
  std::int64_t height = 0;
  std::int64_t width = 0;

  std::int64_t pixels() const noexcept { return height * width; }
  friend bool operator==(const Grid&, const Grid&) = default;
};
// Of the map that a convolution makes of one of `size`.
Grid strided(const Grid& size, const Conv2dGeometry& geometry) noexcept;

// One image's numbers wherever they lie: channel c of pixel (y, x) is
// data[c * channel_stride + y * row_stride + x * pixel_stride].
struct ImageView {
  const float* data = nullptr;
  Grid size;
  std::int64_t channels = 0;
  std::ptrdiff_t channel_stride = 0;
  std::ptrdiff_t row_stride = 0;
  std::ptrdiff_t pixel_stride = 0;
};
// -> out [pixels, channels], row by row.
void interleave(const ImageView& image, float* out);

// A map row by row, a pixel's channels side by side.
template <typename Element>
struct MapView {
  const Element* data = nullptr;
  Grid size;
  std::int64_t channels = 0;
  std::ptrdiff_t stride = 0;  // from pixel to pixel
};
// What a convolution's kernel sees along one row of its output, each number once: for each column
// of the map that it meets, `kernel` pixels under one another, zeros where the map ends.
// -> out [stacked_columns(), kernel, channels]. At pixel x of the row it sees the kernel * kernel *
// channels numbers from column x * stride on, by kx, ky and channel: neighbours share most of them.
template <typename Element>
void stack_columns(const MapView<Element>& map, const Conv2dGeometry& geometry, std::int64_t row,
                   Element* out);
extern template void stack_columns(const MapView<float>&, const Conv2dGeometry&, std::int64_t,
                                   float*);
extern template void stack_columns(const MapView<nn::cpu::Bf16>&, const Conv2dGeometry&,
                                   std::int64_t, nn::cpu::Bf16*);
// For a map that is so wide.
std::int64_t stacked_columns(std::int64_t width, const Conv2dGeometry& geometry) noexcept;

}  // namespace bifocal::vision
