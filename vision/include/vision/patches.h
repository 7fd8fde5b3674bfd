#pragma once

#include <cstddef>
#include <cstdint>

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

// What a convolution's kernel sees at each output pixel of rows first_row .. first_row + rows:
// -> patches [rows * output width, kernel * kernel * channels], zeros where the image ends.
void gather_patches(const ImageView& image, const Conv2dGeometry& geometry, std::int64_t first_row,
                    std::int64_t rows, float* patches);

}  // namespace bifocal::vision
