#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/json_config.h"
#include "vision/codec.h"
#include "vision/resize.h"

namespace bifocal::vision {

// From decoded picture to the encoder's input, as the checkpoint's publisher evaluates it.
struct Preprocess {
  enum class Resize {
    kShortestEdge,  // keep the aspect ratio, shortest edge to resize_height, then centre crop
    kExact,         // to resize_height x resize_width, ignoring the aspect ratio, then centre crop
  };
  // Where the centre lies when the margins cannot be equal. A crop larger than the picture is
  // padded with black.
  enum class CentreCrop {
    kHalfEven,  // torchvision, timm: half the margin to nearest, ties to even; padding rounded down
    kDown,      // transformers: half the margin rounded down, half the padding rounded up
  };
  Resize resize = Resize::kShortestEdge;
  std::int64_t resize_height = 256;  // = resize_width for kShortestEdge
  std::int64_t resize_width = 256;
  std::int64_t height = 224;  // of the centre crop: the encoder's input
  std::int64_t width = 224;
  CentreCrop centre_crop = CentreCrop::kHalfEven;
  Interpolation interpolation = Interpolation::kBicubic;
  std::array<float, 3> mean{0.485f, 0.456f, 0.406f};  // of values scaled to [0, 1], RGB
  std::array<float, 3> std{0.229f, 0.224f, 0.225f};

  // Understands three forms, told apart by their keys:
  //  transformers' preprocessor_config.json (size, crop_size, do_center_crop, resample,
  //  image_mean...).
  //    Other rescale factors and EfficientNet's rescale_offset and include_top are folded into mean
  //    and std; a size that is one number means a square, but for CLIP's; "crop_rounding" is our
  //    key.
  //  timm's config.json pretrained_cfg (input_size, crop_pct, crop_mode, interpolation, mean, std);
  //  torchvision's presets (crop_size, resize_size, interpolation, mean, std).
  // Throws Error(kInvalidBundle), also for what is not done here: crop_mode "border", pictures of
  // varying size, other filters.
  static Preprocess from_config(const core::JsonConfig& config);
  // In transformers' form; from_config() reads it back unchanged.
  nlohmann::json to_json() const;

  bool operator==(const Preprocess&) const = default;
};

// What a picture needs to have for `preprocess` to lose next to nothing: twice the sides that it is
// resized to, as Pillow's thumbnail() asks of a JPEG that it draws from (reducing_gap).
LeastSize least_size(const Preprocess& preprocess) noexcept;

// Resize and crop: [height, width, 3] uint8. Of the resized picture only what the crop keeps is
// computed, so that memory does not depend on the picture's aspect ratio.
Image prepare(const Image& image, const Preprocess& preprocess);

// (value / 255 - mean) / std of every 8-bit value: [channel][value].
std::array<std::array<float, 256>, 3> normalised_values(const Preprocess& preprocess);

// prepare(), then (value / 255 - mean) / std into `out`, which has 3 * height * width floats:
// [3, height, width]. Throws Error(kInvalidArgument) where it has not.
void preprocess_into(const Image& image, const Preprocess& preprocess, std::span<float> out);

}  // namespace bifocal::vision
