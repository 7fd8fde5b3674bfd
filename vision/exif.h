#pragma once

#include <cstddef>
#include <span>

#include "decoders.h"

namespace bifocal::vision {

// The Orientation of the first image of an EXIF block, which begins with "Exif\0\0" (JPEG's APP1,
// some WebP files) or at once with the TIFF header (PNG's eXIf). 1 where there is none, or where
// the block is malformed: a picture is not refused for its metadata.
Orientation read_orientation(std::span<const std::byte> exif) noexcept;

// The picture as it is meant to be seen.
Image upright(Image image, Orientation orientation);

}  // namespace bifocal::vision
