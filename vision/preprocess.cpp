#include "vision/preprocess.h"

#include <algorithm>
#include <string>

#include "bifocal/error.h"
#include "resize_region.h"

namespace bifocal::vision {
namespace {

// One axis: what of the resized picture is kept, and after how much black.
struct Crop {
  Section kept;
  std::int64_t padding = 0;
};

Crop centred(std::int64_t size, std::int64_t crop, Preprocess::CentreCrop rule) {
  const bool half_even = rule == Preprocess::CentreCrop::kHalfEven;
  if (crop > size) {
    const std::int64_t missing = crop - size;
    return {{0, size}, half_even ? missing / 2 : (missing + 1) / 2};
  }
  const std::int64_t margin = size - crop;
  std::int64_t first = margin / 2;
  if (half_even && margin % 2 == 1 && first % 2 == 1) ++first;
  return {{first, crop}, 0};
}

struct Size {
  std::int64_t height, width;
};

// The longer edge is truncated, not rounded: torchvision and transformers alike.
Size resized_size(const Image& image, const Preprocess& preprocess) {
  if (preprocess.resize == Preprocess::Resize::kExact)
    return {preprocess.resize_height, preprocess.resize_width};
  const std::int64_t edge = preprocess.resize_height;
  return image.width <= image.height ? Size{edge * image.height / image.width, edge}
                                     : Size{edge, edge * image.width / image.height};
}

Image padded(const Image& image, std::int64_t height, std::int64_t width, std::int64_t top,
             std::int64_t left) {
  Image out{width, height, std::vector<std::uint8_t>(static_cast<std::size_t>(3 * width * height))};
  for (std::int64_t y = 0; y < image.height; ++y)
    std::copy_n(image.pixels.data() + 3 * image.width * y, 3 * image.width,
                out.pixels.data() + 3 * (width * (top + y) + left));
  return out;
}

}  // namespace

LeastSize least_size(const Preprocess& preprocess) noexcept {
  constexpr std::int64_t kGap = 2;
  const bool is_exact = preprocess.resize == Preprocess::Resize::kExact;
  return {kGap * (is_exact ? preprocess.resize_width : preprocess.resize_height),
          kGap * preprocess.resize_height};
}

Image prepare(const Image& image, const Preprocess& preprocess) {
  if (image.width < 1 || image.height < 1)
    throw Error(ErrorCode::kInvalidArgument, "an image without pixels cannot be prepared");
  const Size size = resized_size(image, preprocess);
  const Crop columns = centred(size.width, preprocess.width, preprocess.centre_crop);
  const Crop rows = centred(size.height, preprocess.height, preprocess.centre_crop);
  Image kept = resize_region(image, size.width, size.height, preprocess.interpolation, columns.kept,
                             rows.kept);
  if (kept.width == preprocess.width && kept.height == preprocess.height) return kept;
  return padded(kept, preprocess.height, preprocess.width, rows.padding, columns.padding);
}

// There are only 256 values: each is worked out once, in double.
std::array<std::array<float, 256>, 3> normalised_values(const Preprocess& preprocess) {
  std::array<std::array<float, 256>, 3> normalised;
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t value = 0; value < 256; ++value)
      normalised[c][value] = static_cast<float>(
          (static_cast<double>(value) / 255.0 - static_cast<double>(preprocess.mean[c])) /
          static_cast<double>(preprocess.std[c]));
  return normalised;
}

void preprocess_into(const Image& image, const Preprocess& preprocess, std::span<float> out) {
  const auto plane = static_cast<std::size_t>(preprocess.height * preprocess.width);
  if (out.size() != 3 * plane)
    throw Error(ErrorCode::kInvalidArgument, "the output has " + std::to_string(out.size()) +
                                                 " values; the encoder takes " +
                                                 std::to_string(3 * plane));
  const Image pixels = prepare(image, preprocess);
  const auto normalised = normalised_values(preprocess);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t i = 0; i < plane; ++i)
      out[c * plane + i] = normalised[c][pixels.pixels[3 * i + c]];
}

}  // namespace bifocal::vision
