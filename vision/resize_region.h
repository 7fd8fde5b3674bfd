#pragma once

#include <cstdint>

#include "vision/resize.h"

namespace bifocal::vision {

struct Section {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// The part of resize(image, width, height) that lies in `columns` and `rows`, which are within it,
// without the work and the memory of the rest. Memory beside the result: at most four times the
// result, and some ten values for each row and column of the image.
Image resize_region(const Image& image, std::int64_t width, std::int64_t height,
                    Interpolation interpolation, Section columns, Section rows);

}  // namespace bifocal::vision
