#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "training/image_ops.h"
#include "training/random.h"
#include "vision/codec.h"
#include "vision/preprocess.h"
#include "vision/resize.h"

namespace bifocal::training {

// Changes of a picture that leave its meaning, drawn anew for each sample and epoch. Parameters
// mean what torchvision's and timm's of the same name mean; the pixels are those of Pillow.

// torchvision.transforms.RandomResizedCrop: a part of the picture to the encoder's size.
struct RandomResizedCrop {
  double min_area = 0.08, max_area = 1.0;           // of the picture
  double min_ratio = 3.0 / 4, max_ratio = 4.0 / 3;  // width to height
};

// torchvision.transforms.ColorJitter: in random order; 0 leaves a property alone.
struct ColorJitter {
  double brightness = 0, contrast = 0, saturation = 0;  // factor from [max(0, 1 - x), 1 + x]
  double hue = 0;                                       // turns from [-x, x]; at most 0.5
};

// timm's "rand-mM-nN-pP-mstdS-inc1" (Cubuk et al. 2020, with increasing severity).
struct RandAugment {
  int num_ops = 2;             // drawn with replacement
  double magnitude = 9;        // 0 to 10
  double magnitude_std = 0.5;  // of a normal deviate added to it
  double probability = 0.5;    // that a drawn operation is applied
};

// timm's RandomErasing (Zhong et al. 2020), one rectangle, on normalised values.
struct RandomErasing {
  enum class Fill { kMean, kPixelNoise };  // timm's "const" and "pixel"
  double probability = 0;
  double min_area = 0.02, max_area = 1.0 / 3;  // of the picture
  double min_ratio = 0.3, max_ratio = 1 / 0.3;
  Fill fill = Fill::kPixelNoise;
};

// In the order in which they are applied. The default changes nothing: the picture as the encoder
// sees it when serving.
struct Augmentation {
  std::optional<RandomResizedCrop> crop;  // absent: resized and cropped as Preprocess says
  double horizontal_flip = 0;             // probability
  double rotation = 0;                    // degrees from [-x, x]: torchvision's RandomRotation
  ColorJitter color_jitter;
  std::optional<RandAugment> rand_augment;
  std::optional<RandomErasing> erasing;
  // Of rotations and shears; what they uncover gets the colour that is normalised to zero.
  vision::Interpolation interpolation = vision::Interpolation::kBilinear;
};

// All but the erasing, which is of normalised values. -> preprocess.height x preprocess.width.
vision::Image augment(const vision::Image& image, const Augmentation& augmentation,
                      const vision::Preprocess& preprocess, Random& random);

// `pixels`: [height, width, 3], normalised.
void erase(std::span<float> pixels, std::int64_t height, std::int64_t width,
           const RandomErasing& erasing, Random& random);

// augment(), normalised, then erased. `pixels`: [preprocess.height, preprocess.width, 3].
void augment_into(const vision::Image& image, const Augmentation& augmentation,
                  const vision::Preprocess& preprocess, Random& random, std::span<float> pixels);

nlohmann::json to_json(const Augmentation& augmentation);  // every number that the pixels hang on

// One operation of RandAugment by timm's name of it ("ShearX", "PosterizeIncreasing") at a
// magnitude of 0 to 10, its direction turned round where `negate`. Throws Error(kInvalidArgument)
// for another name.
void apply_rand_augment_op(vision::Image& image, std::string_view name, double magnitude,
                           bool negate, vision::Interpolation interpolation, const Colour& fill);
std::span<const std::string_view> rand_augment_ops() noexcept;

// Text: each token between the first and the last (which are special) is left out with this
// probability, but never all of them. Returns the positions that stay, ascending.
std::vector<std::size_t> drop_tokens(std::size_t count, double probability, Random& random);

}  // namespace bifocal::training
