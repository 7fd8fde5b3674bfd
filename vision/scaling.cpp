#include "vision/scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::vision {
namespace {

constexpr std::int64_t kWidthDivisor = 8;

// The unscaled stages. Expand, kernel, stride, input, output, layers: as the papers print them.
constexpr std::array<StageConfig, 7> kB0Stages{{
    {BlockKind::kMBConv, 1, 3, 1, 32, 16, 1, 0.25},
    {BlockKind::kMBConv, 6, 3, 2, 16, 24, 2, 0.25},
    {BlockKind::kMBConv, 6, 5, 2, 24, 40, 2, 0.25},
    {BlockKind::kMBConv, 6, 3, 2, 40, 80, 3, 0.25},
    {BlockKind::kMBConv, 6, 5, 1, 80, 112, 3, 0.25},
    {BlockKind::kMBConv, 6, 5, 2, 112, 192, 4, 0.25},
    {BlockKind::kMBConv, 6, 3, 1, 192, 320, 1, 0.25},
}};
constexpr std::array<StageConfig, 6> kV2BaseStages{{
    {BlockKind::kConv, 1, 3, 1, 32, 16, 1, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 16, 32, 2, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 32, 48, 2, 0},
    {BlockKind::kMBConv, 4, 3, 2, 48, 96, 3, 0.25},
    {BlockKind::kMBConv, 6, 3, 1, 96, 112, 5, 0.25},
    {BlockKind::kMBConv, 6, 3, 2, 112, 192, 8, 0.25},
}};
constexpr std::array<StageConfig, 6> kV2SmallStages{{
    {BlockKind::kConv, 1, 3, 1, 24, 24, 2, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 24, 48, 4, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 48, 64, 4, 0},
    {BlockKind::kMBConv, 4, 3, 2, 64, 128, 6, 0.25},
    {BlockKind::kMBConv, 6, 3, 1, 128, 160, 9, 0.25},
    {BlockKind::kMBConv, 6, 3, 2, 160, 256, 15, 0.25},
}};
constexpr std::array<StageConfig, 7> kV2MediumStages{{
    {BlockKind::kConv, 1, 3, 1, 24, 24, 3, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 24, 48, 5, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 48, 80, 5, 0},
    {BlockKind::kMBConv, 4, 3, 2, 80, 160, 7, 0.25},
    {BlockKind::kMBConv, 6, 3, 1, 160, 176, 14, 0.25},
    {BlockKind::kMBConv, 6, 3, 2, 176, 304, 18, 0.25},
    {BlockKind::kMBConv, 6, 3, 1, 304, 512, 5, 0.25},
}};
constexpr std::array<StageConfig, 7> kV2LargeStages{{
    {BlockKind::kConv, 1, 3, 1, 32, 32, 4, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 32, 64, 7, 0},
    {BlockKind::kFusedMBConv, 4, 3, 2, 64, 96, 7, 0},
    {BlockKind::kMBConv, 4, 3, 2, 96, 192, 10, 0.25},
    {BlockKind::kMBConv, 6, 3, 1, 192, 224, 19, 0.25},
    {BlockKind::kMBConv, 6, 3, 2, 224, 384, 25, 0.25},
    {BlockKind::kMBConv, 6, 3, 1, 384, 640, 7, 0.25},
}};

// What a published model is: stages, how they are scaled, and at which size it is evaluated.
struct Variant {
  std::string_view name;
  std::span<const StageConfig> stages;
  double width_coefficient;
  double depth_coefficient;
  std::int64_t image_size;
  double dropout;
  bool lite = false;
};
constexpr std::array<Variant, 20> kVariants{{
    {"efficientnet-b0", kB0Stages, 1.0, 1.0, 224, 0.2},
    {"efficientnet-b1", kB0Stages, 1.0, 1.1, 240, 0.2},
    {"efficientnet-b2", kB0Stages, 1.1, 1.2, 260, 0.3},
    {"efficientnet-b3", kB0Stages, 1.2, 1.4, 300, 0.3},
    {"efficientnet-b4", kB0Stages, 1.4, 1.8, 380, 0.4},
    {"efficientnet-b5", kB0Stages, 1.6, 2.2, 456, 0.4},
    {"efficientnet-b6", kB0Stages, 1.8, 2.6, 528, 0.5},
    {"efficientnet-b7", kB0Stages, 2.0, 3.1, 600, 0.5},
    {"efficientnet-lite0", kB0Stages, 1.0, 1.0, 224, 0.2, true},
    {"efficientnet-lite1", kB0Stages, 1.0, 1.1, 240, 0.2, true},
    {"efficientnet-lite2", kB0Stages, 1.1, 1.2, 260, 0.3, true},
    {"efficientnet-lite3", kB0Stages, 1.2, 1.4, 280, 0.3, true},
    {"efficientnet-lite4", kB0Stages, 1.4, 1.8, 300, 0.3, true},
    {"efficientnetv2-b0", kV2BaseStages, 1.0, 1.0, 224, 0.2},
    {"efficientnetv2-b1", kV2BaseStages, 1.0, 1.1, 240, 0.2},
    {"efficientnetv2-b2", kV2BaseStages, 1.1, 1.2, 260, 0.3},
    {"efficientnetv2-b3", kV2BaseStages, 1.2, 1.4, 300, 0.3},
    {"efficientnetv2-s", kV2SmallStages, 1.0, 1.0, 384, 0.2},
    {"efficientnetv2-m", kV2MediumStages, 1.0, 1.0, 480, 0.3},
    {"efficientnetv2-l", kV2LargeStages, 1.0, 1.0, 480, 0.4},
}};

constexpr std::int64_t kHeadChannels = 1280;

EfficientNetConfig scaled(const Variant& variant) {
  EfficientNetConfig config;
  config.name = variant.name;
  config.image_size = variant.image_size;
  config.dropout = variant.dropout;
  // Lite keeps stem and head (they are cheap to keep and dear to scale on a phone) and the depth of
  // the first and last stage.
  const double outer_width = variant.lite ? 1.0 : variant.width_coefficient;
  config.stem_channels =
      round_width(static_cast<double>(variant.stages.front().in_channels), outer_width);
  config.head_channels = round_width(kHeadChannels, outer_width);
  config.activation = variant.lite ? ConvActivation::kRelu6 : ConvActivation::kSilu;
  std::int64_t in_channels = config.stem_channels;
  for (std::size_t i = 0; i < variant.stages.size(); ++i) {
    StageConfig stage = variant.stages[i];
    const bool outermost = i == 0 || i + 1 == variant.stages.size();
    stage.in_channels = in_channels;
    stage.out_channels =
        round_width(static_cast<double>(stage.out_channels), variant.width_coefficient);
    if (!(variant.lite && outermost))
      stage.layers = round_depth(stage.layers, variant.depth_coefficient);
    if (variant.lite) stage.se_ratio = 0;
    in_channels = stage.out_channels;
    config.stages.push_back(stage);
  }
  return config;
}

// "SAME" and (kernel - 1) / 2 both give ceil(size / stride) for the kernels of the family.
std::int64_t strided(std::int64_t size, std::int64_t stride) {
  return (size + stride - 1) / stride;
}

class Counter {
 public:
  explicit Counter(std::int64_t size) : size_(size) {}

  void convolution(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                   std::int64_t groups = 1) {
    size_ = strided(size_, stride);
    const std::int64_t weights = in / groups * out * kernel * kernel;
    cost_.parameters += weights + 2 * out;  // and the batch norm's scale and shift
    cost_.multiply_adds += weights * size_ * size_;
  }
  // On the pooled vector.
  void linear(std::int64_t in, std::int64_t out) {
    cost_.parameters += in * out + out;
    cost_.multiply_adds += in * out;
  }
  void block(const StageConfig& stage, std::int64_t in, std::int64_t stride) {
    const std::int64_t expanded = expanded_channels(in, stage.expand_ratio);
    switch (stage.kind) {
      case BlockKind::kConv:
        convolution(in, stage.out_channels, stage.kernel, stride);
        return;
      case BlockKind::kFusedMBConv:
        convolution(in, expanded, stage.kernel, stride);
        break;
      case BlockKind::kMBConv:
        if (expanded != in) convolution(in, expanded, 1, 1);
        convolution(expanded, expanded, stage.kernel, stride, expanded);
        break;
    }
    if (stage.se_ratio > 0) {
      const std::int64_t reduced = squeezed_channels(in, stage.se_ratio);
      linear(expanded, reduced);
      linear(reduced, expanded);
    }
    convolution(expanded, stage.out_channels, 1, 1);
  }
  const Cost& cost() const { return cost_; }

 private:
  std::int64_t size_;
  Cost cost_;
};

bool fits(const EfficientNetConfig& config, const Budget& budget,
          const std::function<double(const EfficientNetConfig&)>& measure) {
  const Cost spent = cost(config);
  if (budget.max_parameters > 0 && spent.parameters > budget.max_parameters) return false;
  if (budget.max_multiply_adds > 0 && spent.multiply_adds > budget.max_multiply_adds) return false;
  return budget.max_milliseconds <= 0 || measure(config) <= budget.max_milliseconds;
}

}  // namespace

std::int64_t round_width(double channels, double width_coefficient) {
  const double wanted = channels * width_coefficient;
  const auto nearest =
      static_cast<std::int64_t>(wanted + kWidthDivisor / 2.0) / kWidthDivisor * kWidthDivisor;
  const std::int64_t rounded = std::max(kWidthDivisor, nearest);
  return static_cast<double>(rounded) < 0.9 * wanted ? rounded + kWidthDivisor : rounded;
}

std::int64_t round_depth(std::int64_t layers, double depth_coefficient) {
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(layers) * depth_coefficient));
}

std::int64_t expanded_channels(std::int64_t in_channels, double expand_ratio) {
  return std::llround(static_cast<double>(in_channels) * expand_ratio);
}

std::int64_t squeezed_channels(std::int64_t in_channels, double se_ratio) {
  return std::max<std::int64_t>(
      1, static_cast<std::int64_t>(static_cast<double>(in_channels) * se_ratio));
}

std::vector<std::string_view> efficientnet_names() {
  std::vector<std::string_view> names;
  for (const Variant& variant : kVariants) names.push_back(variant.name);
  return names;
}

EfficientNetConfig efficientnet(std::string_view name) {
  std::string known;
  for (const Variant& variant : kVariants) {
    if (variant.name == name) return scaled(variant);
    known += (known.empty() ? "" : ", ") + std::string(variant.name);
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "\"" + std::string(name) + "\" is not an EfficientNet known here; known are " + known);
}

EfficientNetConfig efficientnet_for_phi(double phi, const CompoundCoefficients& coefficients) {
  if (!(phi >= 0) || phi > 16)
    throw Error(ErrorCode::kInvalidArgument, "phi must lie between 0 and 16");
  const double resolution = 224 * std::pow(coefficients.gamma, phi);
  EfficientNetConfig config =
      scaled({"", kB0Stages, std::pow(coefficients.beta, phi), std::pow(coefficients.alpha, phi),
              std::llround(resolution), 0.2});
  config.name = "efficientnet-phi-" + std::to_string(phi);
  return config;
}

Cost cost(const EfficientNetConfig& config, std::int64_t image_size) {
  Counter counter(image_size > 0 ? image_size : config.image_size);
  counter.convolution(3, config.stem_channels, 3, 2);
  for (const StageConfig& stage : config.stages)
    for (std::int64_t layer = 0; layer < stage.layers; ++layer)
      counter.block(stage, layer == 0 ? stage.in_channels : stage.out_channels,
                    layer == 0 ? stage.stride : 1);
  counter.convolution(config.stages.back().out_channels, config.head_channels, 1, 1);
  if (config.num_classes > 0) counter.linear(config.head_channels, config.num_classes);
  return counter.cost();
}

EfficientNetConfig largest_within(const Budget& budget,
                                  const std::function<double(const EfficientNetConfig&)>& measure,
                                  const CompoundCoefficients& coefficients) {
  constexpr int kSteps = 64;
  constexpr int kMaxPhi = 16;
  if (budget.max_milliseconds > 0 && !measure)
    throw Error(ErrorCode::kInvalidArgument,
                "a budget in milliseconds needs a way to measure them");
  const auto config_at = [&](int step) {
    return efficientnet_for_phi(static_cast<double>(step) / kSteps, coefficients);
  };
  if (!fits(config_at(0), budget, measure)) {
    const Cost smallest = cost(config_at(0));
    throw Error(ErrorCode::kInvalidArgument,
                "not even phi 0 fits the budget: it has " + std::to_string(smallest.parameters) +
                    " parameters and " + std::to_string(smallest.multiply_adds) +
                    " multiply-adds; allow more, or use a Lite model");
  }
  int low = 0, high = kMaxPhi * kSteps;  // low fits; high + 1 need not
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (fits(config_at(middle), budget, measure))
      low = middle;
    else
      high = middle - 1;
  }
  return config_at(low);
}

}  // namespace bifocal::vision
