#include <algorithm>
#include <array>
#include <string>

#include "bifocal/error.h"
#include "training/augmentation.h"

namespace bifocal::training {
namespace {

using vision::Image;

constexpr double kMaxMagnitude = 10;

// What an operation is given beside the picture.
struct Strength {
  double level;  // magnitude / 10
  double sign;   // 1 or -1
  vision::Interpolation interpolation;
  const Colour& fill;

  double around_zero(double most) const { return sign * (level * most); }
  float factor() const { return static_cast<float>(std::max(0.1, 1.0 + around_zero(0.9))); }
  int whole(double most) const { return static_cast<int>(level * most); }
};

void transform(Image& image, const std::array<double, 6>& matrix, const Strength& by) {
  image = affine(image, matrix, by.interpolation, by.fill);
}

struct Operation {
  std::string_view name;
  void (*apply)(Image&, const Strength&);
};

constexpr double kRotation = 30, kShear = 0.3, kTranslation = 0.45;

constexpr std::array<Operation, 15> kOperations{{
    {"AutoContrast", [](Image& image, const Strength&) { auto_contrast(image); }},
    {"Equalize", [](Image& image, const Strength&) { equalize(image); }},
    {"Invert", [](Image& image, const Strength&) { invert(image); }},
    {"Rotate",
     [](Image& image, const Strength& by) {
       image = rotate(image, by.around_zero(kRotation), by.interpolation, by.fill);
     }},
    {"PosterizeIncreasing",
     [](Image& image, const Strength& by) { posterize(image, std::max(1, 4 - by.whole(4))); }},
    {"SolarizeIncreasing",
     [](Image& image, const Strength& by) { solarize(image, 256 - std::min(256, by.whole(256))); }},
    {"SolarizeAdd",
     [](Image& image, const Strength& by) { solarize_add(image, std::min(128, by.whole(110))); }},
    {"ColorIncreasing",
     [](Image& image, const Strength& by) { adjust_saturation(image, by.factor()); }},
    {"ContrastIncreasing",
     [](Image& image, const Strength& by) { adjust_contrast(image, by.factor()); }},
    {"BrightnessIncreasing",
     [](Image& image, const Strength& by) { adjust_brightness(image, by.factor()); }},
    {"SharpnessIncreasing",
     [](Image& image, const Strength& by) { adjust_sharpness(image, by.factor()); }},
    {"ShearX",
     [](Image& image, const Strength& by) {
       transform(image, {1, by.around_zero(kShear), 0, 0, 1, 0}, by);
     }},
    {"ShearY",
     [](Image& image, const Strength& by) {
       transform(image, {1, 0, 0, by.around_zero(kShear), 1, 0}, by);
     }},
    {"TranslateXRel",
     [](Image& image, const Strength& by) {
       const double shift = by.around_zero(kTranslation) * static_cast<double>(image.width);
       transform(image, {1, 0, shift, 0, 1, 0}, by);
     }},
    {"TranslateYRel",
     [](Image& image, const Strength& by) {
       const double shift = by.around_zero(kTranslation) * static_cast<double>(image.height);
       transform(image, {1, 0, 0, 0, 1, shift}, by);
     }},
}};

constexpr auto kNames = [] {
  std::array<std::string_view, kOperations.size()> names;
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kOperations[i].name;
  return names;
}();

}  // namespace

std::span<const std::string_view> rand_augment_ops() noexcept { return kNames; }

void apply_rand_augment_op(Image& image, std::string_view name, double magnitude, bool negate,
                           vision::Interpolation interpolation, const Colour& fill) {
  const auto found = std::find(kNames.begin(), kNames.end(), name);
  if (found == kNames.end())
    throw Error(ErrorCode::kInvalidArgument,
                "RandAugment has no operation \"" + std::string(name) + "\"");
  const double level = std::clamp(magnitude, 0.0, kMaxMagnitude) / kMaxMagnitude;
  kOperations[static_cast<std::size_t>(found - kNames.begin())].apply(
      image, {level, negate ? -1.0 : 1.0, interpolation, fill});
}

}  // namespace bifocal::training
