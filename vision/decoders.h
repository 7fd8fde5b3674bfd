#pragma once
// What codec.cpp asks of each format. The bytes are known to have the format's signature.

#include <cstddef>
#include <span>

#include "vision/codec.h"

namespace bifocal::vision {

// EXIF's Orientation (EXIF 2.32, 4.6.4 A): 1 upright, 2..8 the other ways to hold a camera.
using Orientation = int;

struct StoredImage {
  Image image;  // as stored
  Orientation orientation = 1;
  std::int64_t whole_width = image.width;  // before it was shrunk
  std::int64_t whole_height = image.height;
};

// Whether the picture as stored lies on its side.
constexpr bool swaps_sides(Orientation orientation) noexcept { return orientation >= 5; }

// Throws Error(kImageTooLarge). Every decoder calls it between header and allocation.
void check_limits(const ImageHeader& header, const DecodeLimits& limits);

ImageHeader read_jpeg_header(std::span<const std::byte> encoded);
// Shrunk as far as `least` allows.
StoredImage decode_jpeg(std::span<const std::byte> encoded, const DecodeLimits& limits,
                        const LeastSize& least);

ImageHeader read_png_header(std::span<const std::byte> encoded);
StoredImage decode_png(std::span<const std::byte> encoded, const DecodeLimits& limits);

ImageHeader read_webp_header(std::span<const std::byte> encoded);
StoredImage decode_webp(std::span<const std::byte> encoded, const DecodeLimits& limits);

}  // namespace bifocal::vision
