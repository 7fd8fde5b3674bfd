#pragma once

#include <cstdint>

#include "vision/codec.h"

namespace bifocal::vision {

enum class Interpolation { kNearest, kBilinear, kBicubic };

// As Pillow's Image.resize on 8-bit RGB, to the bit: bilinear and bicubic (Keys, a = -0.5) are
// antialiased, the filter widened by the scale when shrinking. Thread-safe.
// Throws Error(kInvalidArgument) where a side is below 1.
Image resize(const Image& image, std::int64_t width, std::int64_t height,
             Interpolation interpolation);

}  // namespace bifocal::vision
