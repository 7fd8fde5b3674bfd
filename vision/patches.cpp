#include "vision/patches.h"

#include <algorithm>
#include <type_traits>

namespace bifocal::vision {
namespace {

// `count` pixels of row y from x on -> [count, channels].
template <typename Element>
void gather_row(const MapView<Element>& map, std::int64_t y, std::int64_t x, std::int64_t count,
                Element* out) {
  const std::int64_t channels = map.channels;
  const bool inside = y >= 0 && y < map.size.height;
  const std::int64_t from = inside ? std::clamp<std::int64_t>(-x, 0, count) : count;
  const std::int64_t to = std::clamp<std::int64_t>(map.size.width - x, from, count);
  std::fill(out, out + from * channels, Element{0});
  const Element* in = map.data + (y * map.size.width + x) * map.stride;
  for (std::int64_t pixel = from; pixel < to; ++pixel)
    std::copy_n(in + pixel * map.stride, channels, out + pixel * channels);
  std::fill(out + to * channels, out + count * channels, Element{0});
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

template <typename Element>
void gather_patches(const MapView<Element>& map, const Conv2dGeometry& geometry,
                    std::int64_t first_row, std::int64_t rows, Element* patches) {
  const auto& [kernel, stride, groups, padding] = geometry;
  const std::int64_t width = strided(map.size, geometry).width;
  const std::int64_t top = padding_of(padding, map.size.height, kernel, stride).before;
  const std::int64_t left = padding_of(padding, map.size.width, kernel, stride).before;
  const std::int64_t line = kernel * map.channels;  // of a patch
  // Pixels whose whole line lies within the map and stands there as it will in the patch.
  const bool dense = map.stride == map.channels;
  const std::int64_t first = dense ? std::min((left + stride - 1) / stride, width) : width;
  const std::int64_t room = map.size.width - kernel + left;
  const std::int64_t last = room < 0 ? first : std::clamp(room / stride + 1, first, width);
  for (std::int64_t y = first_row; y < first_row + rows; ++y, patches += width * kernel * line) {
    for (std::int64_t ky = 0; ky < kernel; ++ky) {
      const std::int64_t in_y = y * stride - top + ky;
      Element* out = patches + ky * line;
      const auto gather = [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t x = begin; x < end; ++x)
          gather_row(map, in_y, x * stride - left, kernel, out + x * kernel * line);
      };
      if (in_y < 0 || in_y >= map.size.height) {
        gather(0, width);
        continue;
      }
      gather(0, first);
      const Element* in = map.data + (in_y * map.size.width - left) * map.stride;
      const auto copy = [&](auto count) {
        for (std::int64_t x = first; x < last; ++x)
          std::copy_n(in + x * stride * map.stride, static_cast<std::int64_t>(count),
                      out + x * kernel * line);
      };
      if (line == 9)  // every stem's: worth a loop of its own
        copy(std::integral_constant<std::int64_t, 9>());
      else
        copy(line);
      gather(last, width);
    }
  }
}
template void gather_patches(const MapView<float>&, const Conv2dGeometry&, std::int64_t,
                             std::int64_t, float*);
template void gather_patches(const MapView<nn::cpu::Bf16>&, const Conv2dGeometry&, std::int64_t,
                             std::int64_t, nn::cpu::Bf16*);

}  // namespace bifocal::vision
