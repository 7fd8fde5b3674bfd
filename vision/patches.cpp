#include "vision/patches.h"

#include <algorithm>

namespace bifocal::vision {
namespace {

// `count` pixels from the image's (y, x) on -> [count, channels].
void gather_row(const ImageView& image, std::int64_t y, std::int64_t x, std::int64_t count,
                float* out) {
  const std::int64_t channels = image.channels;
  const bool inside = y >= 0 && y < image.size.height;
  const std::int64_t from = inside ? std::clamp<std::int64_t>(-x, 0, count) : count;
  const std::int64_t to = std::clamp<std::int64_t>(image.size.width - x, from, count);
  std::fill(out, out + from * channels, 0.0f);
  if (from < to) {
    const float* in = image.data + y * image.row_stride + (x + from) * image.pixel_stride;
    float* at = out + from * channels;
    if (image.channel_stride == 1 && image.pixel_stride == channels) {
      std::copy(in, in + (to - from) * channels, at);
    } else {
      for (std::int64_t pixel = from; pixel < to; ++pixel, in += image.pixel_stride)
        for (std::int64_t c = 0; c < channels; ++c) *at++ = in[c * image.channel_stride];
    }
  }
  std::fill(out + to * channels, out + count * channels, 0.0f);
}

}  // namespace

// TensorFlow's SAME and (kernel - 1) / 2 on every side agree in this for odd kernels.
Grid strided(const Grid& size, const Conv2dGeometry& geometry) noexcept {
  const std::int64_t stride = geometry.stride;
  return {(size.height + stride - 1) / stride, (size.width + stride - 1) / stride};
}

void gather_patches(const ImageView& image, const Conv2dGeometry& geometry, std::int64_t first_row,
                    std::int64_t rows, float* patches) {
  const auto& [kernel, stride, groups, padding] = geometry;
  const std::int64_t width = strided(image.size, geometry).width;
  const std::int64_t top = padding_of(padding, image.size.height, kernel, stride).before;
  const std::int64_t left = padding_of(padding, image.size.width, kernel, stride).before;
  for (std::int64_t y = first_row; y < first_row + rows; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (std::int64_t ky = 0; ky < kernel; ++ky, patches += kernel * image.channels)
        gather_row(image, y * stride - top + ky, x * stride - left, kernel, patches);
}

}  // namespace bifocal::vision
