#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "bifocal/error.h"
#include "vision/codec.h"

namespace bifocal::fuzz {

// Small enough that a run is thousands of pictures, large enough for every code path.
inline constexpr vision::DecodeLimits kLimits{.max_pixels = 1 << 18, .max_side = 65'535};

// What is decoded fits its header and the limits; anything else is a bifocal::Error.
inline void check_decoding(const std::uint8_t* data, std::size_t size, vision::ImageFormat format) {
  const auto encoded = std::as_bytes(std::span(data, size));
  try {
    const vision::ImageHeader header = vision::read_header(encoded, kLimits);
    if (header.format != format) return;  // another target's
    const vision::Image image = vision::decode(encoded, kLimits);
    const bool upright = image.width == header.width && image.height == header.height;
    const bool turned = image.width == header.height && image.height == header.width;
    if (!(upright || turned) || image.width < 1 || image.height < 1 ||
        image.width * image.height > kLimits.max_pixels ||
        image.pixels.size() != static_cast<std::size_t>(3 * image.width * image.height))
      std::abort();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) std::abort();
  }
}

}  // namespace bifocal::fuzz
