#pragma once

#include <cstdint>

#include "vision/codec.h"

namespace bifocal::vision {

enum class Interpolation { kBilinear, kBicubic };

// As Pillow's Image.resize on uint8: antialiased, the filter widened by the scale when shrinking.
// width, height > 0.
Image resize(const Image& image, std::int64_t width, std::int64_t height,
             Interpolation interpolation);

}  // namespace bifocal::vision
