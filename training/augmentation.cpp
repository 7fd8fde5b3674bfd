#include "training/augmentation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "training/random_variates.h"

namespace bifocal::training {
namespace {

using vision::Image;

constexpr int kAttempts = 10;  // of torchvision and timm alike

struct Box {
  std::int64_t left, top, width, height;
};

std::int64_t whole(double value) { return static_cast<std::int64_t>(std::nearbyint(value)); }

std::int64_t position(std::int64_t room, Random& random) {
  return static_cast<std::int64_t>(random.below(static_cast<std::size_t>(room) + 1));
}

// A rectangle of a share of the area and a ratio of sides, each drawn; its width is
// sqrt(area * ratio).
Box drawn_box(std::int64_t width, std::int64_t height, double min_area, double max_area,
              double min_ratio, double max_ratio, Random& random) {
  const double area = static_cast<double>(width * height) * random.uniform(min_area, max_area);
  const double ratio = std::exp(random.uniform(std::log(min_ratio), std::log(max_ratio)));
  return {0, 0, whole(std::sqrt(area * ratio)), whole(std::sqrt(area / ratio))};
}

Box placed(Box box, std::int64_t width, std::int64_t height, Random& random) {
  box.top = position(height - box.height, random);
  box.left = position(width - box.width, random);
  return box;
}

Box crop_box(const Image& image, const RandomResizedCrop& crop, Random& random) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const Box box = drawn_box(image.width, image.height, crop.min_area, crop.max_area,
                              crop.min_ratio, crop.max_ratio, random);
    if (box.width > 0 && box.width <= image.width && box.height > 0 && box.height <= image.height)
      return placed(box, image.width, image.height, random);
  }
  // The largest centred part whose ratio is allowed.
  const double ratio = static_cast<double>(image.width) / static_cast<double>(image.height);
  Box box{0, 0, image.width, image.height};
  if (ratio < crop.min_ratio)
    box.height = std::min(image.height, whole(static_cast<double>(image.width) / crop.min_ratio));
  else if (ratio > crop.max_ratio)
    box.width = std::min(image.width, whole(static_cast<double>(image.height) * crop.max_ratio));
  box.width = std::max<std::int64_t>(box.width, 1);
  box.height = std::max<std::int64_t>(box.height, 1);
  box.left = (image.width - box.width) / 2;
  box.top = (image.height - box.height) / 2;
  return box;
}

Image cropped(const Image& image, const Box& box) {
  Image part{box.width, box.height,
             std::vector<std::uint8_t>(static_cast<std::size_t>(3 * box.width * box.height))};
  for (std::int64_t y = 0; y < box.height; ++y)
    std::copy_n(image.pixels.data() + 3 * ((box.top + y) * image.width + box.left), 3 * box.width,
                part.pixels.data() + 3 * box.width * y);
  return part;
}

void jitter(Image& image, const ColorJitter& jitter, Random& random) {
  std::array<int, 4> order{0, 1, 2, 3};
  for (std::size_t left = order.size(); left > 1; --left)
    std::swap(order[left - 1], order[random.below(left)]);
  const auto factor = [&random](double most) {
    return static_cast<float>(random.uniform(std::max(0.0, 1 - most), 1 + most));
  };
  for (const int property : order) {
    if (property == 0 && jitter.brightness > 0)
      adjust_brightness(image, factor(jitter.brightness));
    else if (property == 1 && jitter.contrast > 0)
      adjust_contrast(image, factor(jitter.contrast));
    else if (property == 2 && jitter.saturation > 0)
      adjust_saturation(image, factor(jitter.saturation));
    else if (property == 3 && jitter.hue > 0)
      adjust_hue(image, random.uniform(-jitter.hue, jitter.hue));
  }
}

void rand_augment(Image& image, const RandAugment& policy, vision::Interpolation interpolation,
                  const Colour& fill, Random& random) {
  const auto names = rand_augment_ops();
  std::vector<std::string_view> drawn(static_cast<std::size_t>(policy.num_ops));
  for (std::string_view& name : drawn) name = names[random.below(names.size())];
  for (const std::string_view name : drawn) {
    if (!chance(random, policy.probability)) continue;
    const double magnitude = policy.magnitude + policy.magnitude_std * normal(random);
    const bool negate = chance(random, 0.5);
    apply_rand_augment_op(image, name, magnitude, negate, interpolation, fill);
  }
}

Colour mean_colour(const vision::Preprocess& preprocess) {
  Colour colour;
  for (std::size_t c = 0; c < colour.size(); ++c)
    colour[c] =
        static_cast<std::uint8_t>(std::clamp(std::round(255 * preprocess.mean[c]), 0.0f, 255.0f));
  return colour;
}

}  // namespace

Image augment(const Image& image, const Augmentation& augmentation,
              const vision::Preprocess& preprocess, Random& random) {
  Image result = augmentation.crop
                     ? vision::resize(cropped(image, crop_box(image, *augmentation.crop, random)),
                                      preprocess.width, preprocess.height, preprocess.interpolation)
                     : vision::prepare(image, preprocess);
  const Colour fill = mean_colour(preprocess);
  if (chance(random, augmentation.horizontal_flip)) flip_horizontally(result);
  if (augmentation.rotation > 0)
    result = rotate(result, random.uniform(-augmentation.rotation, augmentation.rotation),
                    augmentation.interpolation, fill);
  jitter(result, augmentation.color_jitter, random);
  if (augmentation.rand_augment)
    rand_augment(result, *augmentation.rand_augment, augmentation.interpolation, fill, random);
  return result;
}

void erase(std::span<float> pixels, std::int64_t height, std::int64_t width,
           const RandomErasing& erasing, Random& random) {
  if (!chance(random, erasing.probability)) return;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    // timm's ratio is height to width, symmetric in logarithms by default: ours is the same way
    // round once the axes are exchanged.
    Box box = drawn_box(height, width, erasing.min_area, erasing.max_area, erasing.min_ratio,
                        erasing.max_ratio, random);
    std::swap(box.width, box.height);
    if (box.width >= width || box.height >= height) continue;
    box = placed(box, width, height, random);
    for (std::int64_t y = box.top; y < box.top + box.height; ++y)
      for (std::int64_t i = 3 * (width * y + box.left); i < 3 * (width * y + box.left + box.width);
           ++i)
        pixels[static_cast<std::size_t>(i)] =
            erasing.fill == RandomErasing::Fill::kMean ? 0.0f : static_cast<float>(normal(random));
    return;
  }
}

void augment_into(const vision::Image& image, const Augmentation& augmentation,
                  const vision::Preprocess& preprocess, Random& random, std::span<float> pixels) {
  const vision::Image drawn = augment(image, augmentation, preprocess, random);
  const auto normalised = vision::normalised_values(preprocess);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = normalised[i % 3][drawn.pixels[i]];
  if (augmentation.erasing) erase(pixels, drawn.height, drawn.width, *augmentation.erasing, random);
}

nlohmann::json to_json(const Augmentation& augmentation) {
  const ColorJitter& jitter = augmentation.color_jitter;
  nlohmann::json json = {
      {"horizontal_flip", augmentation.horizontal_flip},
      {"rotation", augmentation.rotation},
      {"color_jitter", {jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue}},
      {"interpolation", static_cast<int>(augmentation.interpolation)}};
  if (augmentation.crop)
    json["crop"] = {augmentation.crop->min_area, augmentation.crop->max_area,
                    augmentation.crop->min_ratio, augmentation.crop->max_ratio};
  if (augmentation.rand_augment)
    json["rand_augment"] = {
        augmentation.rand_augment->num_ops, augmentation.rand_augment->magnitude,
        augmentation.rand_augment->magnitude_std, augmentation.rand_augment->probability};
  if (augmentation.erasing)
    json["erasing"] = {
        augmentation.erasing->probability, augmentation.erasing->min_area,
        augmentation.erasing->max_area,    augmentation.erasing->min_ratio,
        augmentation.erasing->max_ratio,   static_cast<int>(augmentation.erasing->fill)};
  return json;
}

std::vector<std::size_t> drop_tokens(std::size_t count, double probability, Random& random) {
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < count; ++i)
    if (i == 0 || i + 1 == count || !chance(random, probability)) kept.push_back(i);
  if (count > 2 && kept.size() == 2) kept.insert(kept.begin() + 1, 1 + random.below(count - 2));
  return kept;
}

}  // namespace bifocal::training
