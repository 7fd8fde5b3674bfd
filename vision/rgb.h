#pragma once
// Per-pixel conversions that the decoders share.

#include <cstddef>
#include <cstdint>

namespace bifocal::vision {

// x / 255 to the nearest whole number, for 0 <= x <= 255 * 255.
constexpr std::uint8_t divided_by_255(std::uint32_t x) noexcept {
  return static_cast<std::uint8_t>((x + 128 + ((x + 128) >> 8)) >> 8);
}

// [count, 4] with straight alpha -> [count, 3] on white. `rgb` may be `rgba`.
inline void composite_on_white(const std::uint8_t* rgba, std::uint8_t* rgb,
                               std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t alpha = rgba[4 * i + 3];
    for (std::size_t c = 0; c < 3; ++c)
      rgb[3 * i + c] = divided_by_255(rgba[4 * i + c] * alpha + 255 * (255 - alpha));
  }
}

}  // namespace bifocal::vision
