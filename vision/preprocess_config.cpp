// The three forms in which publishers write their preprocessing down.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "vision/preprocess.h"

namespace bifocal::vision {
namespace {

using core::JsonConfig;

constexpr std::int64_t kMaxSide = 8192;  // of what an encoder takes

using Channels = std::array<double, 3>;

Channels channels(const JsonConfig& config, std::string_view key, const Channels& otherwise) {
  if (!config.has(key)) return otherwise;
  const std::vector<double> values = config.numbers(key);
  if (values.size() == 1) return {values[0], values[0], values[0]};
  if (values.size() != 3)
    throw config.wrong(key, "expected 3 numbers (RGB), got " + std::to_string(values.size()));
  return {values[0], values[1], values[2]};
}

constexpr Channels kImageNetMean{0.485, 0.456, 0.406};
constexpr Channels kImageNetStd{0.229, 0.224, 0.225};

void set_normalisation(Preprocess& preprocess, const Channels& mean, const Channels& std,
                       const JsonConfig& config, std::string_view std_key) {
  for (std::size_t c = 0; c < 3; ++c) {
    preprocess.mean[c] = static_cast<float>(mean[c]);
    preprocess.std[c] = static_cast<float>(std[c]);
    if (!std::isnormal(preprocess.std[c]) || preprocess.std[c] < 0 ||
        !std::isfinite(preprocess.mean[c]) || !std::isfinite(1 / preprocess.std[c]))
      throw config.wrong(std_key, "with this normalisation values are not finite");
  }
}

// "bicubic", or torchvision's "InterpolationMode.BICUBIC".
Interpolation interpolation_named(const JsonConfig& config, std::string otherwise) {
  std::string name = config.string_or("interpolation", std::move(otherwise));
  if (const std::size_t dot = name.rfind('.'); dot != std::string::npos) name.erase(0, dot + 1);
  for (char& c : name)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (name == "nearest") return Interpolation::kNearest;
  if (name == "bilinear") return Interpolation::kBilinear;
  if (name == "bicubic") return Interpolation::kBicubic;
  throw config.wrong("interpolation",
                     "expected nearest, bilinear or bicubic, got \"" + name.substr(0, 40) + "\"");
}

std::int64_t side(const JsonConfig& config, std::string_view key) {
  return config.integer(key, 1, kMaxSide);
}

struct Sides {
  std::int64_t height, width;
};

// A list of whole numbers, [size] or [height, width], or the number itself.
std::vector<std::int64_t> sides(const JsonConfig& config, std::string_view key,
                                std::int64_t otherwise) {
  if (!config.has(key)) return {otherwise};
  if (!config.json().at(std::string(key)).is_array()) return {side(config, key)};
  std::vector<std::int64_t> values;
  for (const double value : config.numbers(key)) {
    if (value < 1 || value > static_cast<double>(kMaxSide) || value != std::floor(value))
      throw config.wrong(key, "expected whole numbers from 1 to " + std::to_string(kMaxSide));
    values.push_back(static_cast<std::int64_t>(value));
  }
  if (values.empty() || values.size() > 2)
    throw config.wrong(key, "expected one or two numbers, got " + std::to_string(values.size()));
  return values;
}

// timm.data.create_transform(**resolve_data_config(pretrained_cfg)): the keys that it reads, and
// its defaults.
Preprocess from_timm(const JsonConfig& config) {
  Preprocess preprocess;
  Sides input{224, 224};
  if (config.has("input_size")) {
    const std::vector<double> size = config.numbers("input_size");
    const auto fits = [](double value) {
      return value >= 1 && value <= static_cast<double>(kMaxSide) && value == std::floor(value);
    };
    if (size.size() != 3 || size[0] != 3 || !fits(size[1]) || !fits(size[2]))
      throw config.wrong("input_size", "expected [3, height, width], each side from 1 to " +
                                           std::to_string(kMaxSide));
    input = {static_cast<std::int64_t>(size[1]), static_cast<std::int64_t>(size[2])};
  }
  double crop_pct = config.number_or("crop_pct", 0);
  if (crop_pct == 0) crop_pct = 0.875;
  if (!(crop_pct > 0.01 && crop_pct <= 10))
    throw config.wrong("crop_pct", "expected a number from 0.01 to 10");
  const auto scaled = [crop_pct](std::int64_t size) {
    const double edge = std::floor(static_cast<double>(size) / crop_pct);
    return static_cast<std::int64_t>(std::max(edge, 1.0));
  };
  preprocess.resize_height = scaled(input.height);
  preprocess.resize_width = scaled(input.width);
  preprocess.height = input.height;
  preprocess.width = input.width;

  const std::string mode = config.string_or("crop_mode", "center");
  if (mode == "squash") {
    preprocess.resize = Preprocess::Resize::kExact;
  } else if (mode != "center") {
    throw config.wrong("crop_mode", "expected center or squash (a border is not added), got \"" +
                                        mode.substr(0, 40) + "\"");
  } else if (preprocess.resize_height != preprocess.resize_width) {
    throw config.wrong("input_size", "expected a square with crop_mode center");
  }
  preprocess.interpolation = interpolation_named(config, "bicubic");
  set_normalisation(preprocess, channels(config, "mean", kImageNetMean),
                    channels(config, "std", kImageNetStd), config, "std");
  return preprocess;
}

// torchvision.transforms._presets.ImageClassification and its defaults.
Preprocess from_torchvision(const JsonConfig& config) {
  Preprocess preprocess;
  const std::vector<std::int64_t> crop = sides(config, "crop_size", 224);
  const std::vector<std::int64_t> resize = sides(config, "resize_size", 256);
  preprocess.resize =
      resize.size() == 1 ? Preprocess::Resize::kShortestEdge : Preprocess::Resize::kExact;
  preprocess.resize_height = resize.front();
  preprocess.resize_width = resize.back();
  preprocess.height = crop.front();
  preprocess.width = crop.back();
  preprocess.interpolation = interpolation_named(config, "bilinear");
  set_normalisation(preprocess, channels(config, "mean", kImageNetMean),
                    channels(config, "std", kImageNetStd), config, "std");
  return preprocess;
}

// What transformers calls its processor: ViTImageProcessor, CLIPFeatureExtractor...
std::string processor_type(const JsonConfig& config) {
  return config.string_or("image_processor_type", config.string_or("feature_extractor_type", ""));
}

bool is_efficientnet(const JsonConfig& config) {
  return processor_type(config).starts_with("EfficientNet");
}

void set_resize(Preprocess& preprocess, const JsonConfig& config) {
  if (!config.has("size")) throw config.wrong("size", "is missing");
  if (!config.json().at("size").is_object()) {
    const std::vector<std::int64_t> size = sides(config, "size", 0);
    const bool is_square =
        config.boolean_or("default_to_square", !processor_type(config).starts_with("CLIP"));
    preprocess.resize = size.size() == 2 || is_square ? Preprocess::Resize::kExact
                                                      : Preprocess::Resize::kShortestEdge;
    preprocess.resize_height = size.front();
    preprocess.resize_width = size.back();
    return;
  }
  const JsonConfig size = config.child("size");
  if (size.has("longest_edge") || size.has("max_height") || size.has("max_width"))
    throw config.wrong("size", "limits on the longest edge are not supported");
  if (size.has("shortest_edge")) {
    preprocess.resize = Preprocess::Resize::kShortestEdge;
    preprocess.resize_height = preprocess.resize_width = side(size, "shortest_edge");
  } else {
    preprocess.resize = Preprocess::Resize::kExact;
    preprocess.resize_height = side(size, "height");
    preprocess.resize_width = side(size, "width");
  }
}

void set_crop(Preprocess& preprocess, const JsonConfig& config) {
  if (!config.boolean_or("do_center_crop", processor_type(config).starts_with("CLIP"))) {
    if (preprocess.resize == Preprocess::Resize::kShortestEdge)
      throw config.wrong("do_center_crop",
                         "is off, and size names one edge: an encoder needs pictures of one size");
    preprocess.height = preprocess.resize_height;
    preprocess.width = preprocess.resize_width;
  } else if (config.has("crop_size") && config.json().at("crop_size").is_object()) {
    const JsonConfig crop = config.child("crop_size");
    preprocess.height = side(crop, "height");
    preprocess.width = side(crop, "width");
  } else {
    if (!config.has("crop_size")) throw config.wrong("crop_size", "is missing");
    const std::vector<std::int64_t> crop = sides(config, "crop_size", 0);
    preprocess.height = crop.front();
    preprocess.width = crop.back();
  }
  const std::string rounding = config.string_or("crop_rounding", "down");
  if (rounding != "down" && rounding != "half_even")
    throw config.wrong("crop_rounding", "expected down or half_even");
  preprocess.centre_crop =
      rounding == "down" ? Preprocess::CentreCrop::kDown : Preprocess::CentreCrop::kHalfEven;
}

// Pillow's numbers.
constexpr int kPillowNearest = 0, kPillowBilinear = 2, kPillowBicubic = 3;

Interpolation resample(const JsonConfig& config) {
  switch (config.integer_or("resample", is_efficientnet(config) ? kPillowBicubic : kPillowBilinear,
                            0, 5)) {
    case kPillowNearest:
      return Interpolation::kNearest;
    case kPillowBilinear:
      return Interpolation::kBilinear;
    case kPillowBicubic:
      return Interpolation::kBicubic;
    default:
      throw config.wrong("resample", "expected 0 (nearest), 2 (bilinear) or 3 (bicubic)");
  }
}

// Rescaling, offset, normalisation and EfficientNet's second division are one straight line,
// written as the mean and std of value / 255: (v * factor - offset - mean) / std / top.
void set_rescaled_normalisation(Preprocess& preprocess, const JsonConfig& config) {
  const bool rescales = config.boolean_or("do_rescale", true);
  const double factor = rescales ? config.number_or("rescale_factor", 1.0 / 255) : 1;
  if (!(factor > 0)) throw config.wrong("rescale_factor", "expected a number above 0");
  const bool is_offset = rescales && config.boolean_or("rescale_offset", false);
  // Where the mean is not written down it is the library's default: (0.5, 0.5, 0.5).
  const Channels half{0.5, 0.5, 0.5};
  const Channels configured_std = channels(config, "image_std", half);
  Channels mean{}, std{1, 1, 1};
  if (config.boolean_or("do_normalize", true)) {
    mean = channels(config, "image_mean", half);
    std = configured_std;
  }
  const bool divides_again = config.boolean_or("include_top", is_efficientnet(config));
  for (std::size_t c = 0; c < 3; ++c) {
    mean[c] = (mean[c] + (is_offset ? 1 : 0)) / (255 * factor);
    std[c] = std[c] * (divides_again ? configured_std[c] : 1) / (255 * factor);
  }
  set_normalisation(preprocess, mean, std, config, "image_std");
}

Preprocess from_transformers(const JsonConfig& config) {
  Preprocess preprocess;
  if (!config.boolean_or("do_resize", true))
    throw config.wrong("do_resize", "is off; an encoder needs pictures of one size");
  if (config.boolean_or("do_pad", false)) throw config.wrong("do_pad", "is not supported");
  set_resize(preprocess, config);
  set_crop(preprocess, config);
  preprocess.interpolation = resample(config);
  set_rescaled_normalisation(preprocess, config);
  return preprocess;
}

int pillow_number(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::kNearest:
      return kPillowNearest;
    case Interpolation::kBilinear:
      return kPillowBilinear;
    case Interpolation::kBicubic:
      return kPillowBicubic;
  }
  throw Error(ErrorCode::kInternal, "an interpolation without a number");
}

}  // namespace

Preprocess Preprocess::from_config(const JsonConfig& config) {
  if (config.has("pretrained_cfg")) return from_timm(config.child("pretrained_cfg"));
  if (config.has("input_size")) return from_timm(config);
  if (config.has("resize_size")) return from_torchvision(config);
  if (config.has("size")) return from_transformers(config);
  throw Error(ErrorCode::kInvalidBundle,
              config.source() +
                  ": is no preprocessing config: expected transformers' \"size\", timm's "
                  "\"input_size\" or \"pretrained_cfg\", or torchvision's \"resize_size\"");
}

nlohmann::json Preprocess::to_json() const {
  nlohmann::json size = {{"height", resize_height}, {"width", resize_width}};
  if (resize == Resize::kShortestEdge) size = {{"shortest_edge", resize_height}};
  return {
      {"do_resize", true},
      {"size", std::move(size)},
      {"resample", pillow_number(interpolation)},
      {"do_center_crop", true},
      {"crop_size", {{"height", height}, {"width", width}}},
      {"crop_rounding", centre_crop == CentreCrop::kDown ? "down" : "half_even"},
      {"do_rescale", true},
      {"rescale_factor", 1.0 / 255},
      {"do_normalize", true},
      {"image_mean", mean},
      {"image_std", std},
  };
}

}  // namespace bifocal::vision
