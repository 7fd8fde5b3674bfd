#include "vision/patches.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace bifocal::vision {
namespace {

// `count` pixels of `channels` numbers, from one stride to another.
template <typename Element>
void copy_pixels(const Element* from, std::ptrdiff_t from_stride, std::int64_t count,
                 std::int64_t channels, Element* to, std::ptrdiff_t to_stride) {
  const auto copy = [&](auto length) {
    for (std::int64_t i = 0; i < count; ++i)
      std::memcpy(to + i * to_stride, from + i * from_stride,
                  static_cast<std::size_t>(length) * sizeof(Element));
  };
  // A length known beforehand is a few instructions, where a call costs more than what it copies.
  switch (channels) {
    case 3:
      return copy(std::integral_constant<std::int64_t, 3>());
    case 16:
      return copy(std::integral_constant<std::int64_t, 16>());
    case 24:
      return copy(std::integral_constant<std::int64_t, 24>());
    case 32:
      return copy(std::integral_constant<std::int64_t, 32>());
    case 48:
      return copy(std::integral_constant<std::int64_t, 48>());
    default:
      return copy(channels);
  }
}

}  // namespace

// TensorFlow's SAME and (kernel - 1) / 2 on every side agree in this for odd kernels.
Grid strided(const Grid& size, const Conv2dGeometry& geometry) noexcept {
  const std::int64_t stride = geometry.stride;
  return {(size.height + stride - 1) / stride, (size.width + stride - 1) / stride};
}

void interleave(const ImageView& image, float* out) {
  for (std::int64_t y = 0; y < image.size.height; ++y) {
    const float* row = image.data + y * image.row_stride;
    for (std::int64_t x = 0; x < image.size.width; ++x)
      for (std::int64_t c = 0; c < image.channels; ++c)
        *out++ = row[c * image.channel_stride + x * image.pixel_stride];
  }
}

std::int64_t stacked_columns(std::int64_t width, const Conv2dGeometry& geometry) noexcept {
  return (strided({1, width}, geometry).width - 1) * geometry.stride + geometry.kernel;
}

template <typename Element>
void stack_columns(const MapView<Element>& map, const Conv2dGeometry& geometry, std::int64_t row,
                   Element* out) {
  const auto& [kernel, stride, groups, padding] = geometry;
  const std::int64_t top = padding_of(padding, map.size.height, kernel, stride).before;
  const std::int64_t left = padding_of(padding, map.size.width, kernel, stride).before;
  const std::int64_t columns = stacked_columns(map.size.width, geometry);
  const std::int64_t column = kernel * map.channels;
  const std::int64_t first = std::min(left, columns);
  const std::int64_t last = std::clamp(map.size.width + left, first, columns);
  std::fill(out, out + first * column, Element{0});
  for (std::int64_t ky = 0; ky < kernel; ++ky) {
    Element* to = out + first * column + ky * map.channels;
    const std::int64_t y = row * stride - top + ky;
    if (y >= 0 && y < map.size.height)
      copy_pixels(map.data + (y * map.size.width + first - left) * map.stride, map.stride,
                  last - first, map.channels, to, column);
    else
      for (std::int64_t x = first; x < last; ++x, to += column)
        std::fill_n(to, map.channels, Element{0});
  }
  std::fill(out + last * column, out + columns * column, Element{0});
}
template void stack_columns(const MapView<float>&, const Conv2dGeometry&, std::int64_t, float*);
template void stack_columns(const MapView<nn::cpu::Bf16>&, const Conv2dGeometry&, std::int64_t,
                            nn::cpu::Bf16*);

}  // namespace bifocal::vision
