#pragma once

#include <cstdint>
#include <string>

#include "vision/codec.h"

namespace bifocal::training {

// "data:image/jpeg;base64,...": the picture with its longer side at most `side`, for a page that
// must need no other file. Throws Error(kInvalidArgument) for an image without pixels.
std::string thumbnail_data_uri(const vision::Image& image, std::int64_t side);

}  // namespace bifocal::training
