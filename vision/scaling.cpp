#include "vision/scaling.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::vision {
namespace {

constexpr std::int64_t kDivisor = 8;  // of widths

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

// Stages and how they are scaled.
struct Family {
  std::span<const StageConfig> stages;
  ConvActivation activation = ConvActivation::kSilu;
  bool has_se = true;
  // Lite keeps stem and head (they are cheap to keep and dear to scale on a phone) and the depth of
  // the first and last stage.
  bool scales_ends = true;
  // V2's base models round widths to the nearest 8, however far below that falls.
  bool keeps_90_percent = true;
};
constexpr Family kB{.stages = kB0Stages};
constexpr Family kLite{.stages = kB0Stages,
                       .activation = ConvActivation::kRelu6,
                       .has_se = false,
                       .scales_ends = false};
constexpr Family kV2Base{.stages = kV2BaseStages, .keeps_90_percent = false};
constexpr Family kV2Small{.stages = kV2SmallStages};
constexpr Family kV2Medium{.stages = kV2MediumStages};
constexpr Family kV2Large{.stages = kV2LargeStages};

struct Variant {
  std::string_view name;
  Family family;
  double width_coefficient;
  double depth_coefficient;
  std::int64_t image_size;  // of evaluation
  double dropout;
};
constexpr std::array<Variant, 20> kVariants{{
    {"efficientnet-b0", kB, 1.0, 1.0, 224, 0.2},
    {"efficientnet-b1", kB, 1.0, 1.1, 240, 0.2},
    {"efficientnet-b2", kB, 1.1, 1.2, 260, 0.3},
    {"efficientnet-b3", kB, 1.2, 1.4, 300, 0.3},
    {"efficientnet-b4", kB, 1.4, 1.8, 380, 0.4},
    {"efficientnet-b5", kB, 1.6, 2.2, 456, 0.4},
    {"efficientnet-b6", kB, 1.8, 2.6, 528, 0.5},
    {"efficientnet-b7", kB, 2.0, 3.1, 600, 0.5},
    {"efficientnet-lite0", kLite, 1.0, 1.0, 224, 0.2},
    {"efficientnet-lite1", kLite, 1.0, 1.1, 240, 0.2},
    {"efficientnet-lite2", kLite, 1.1, 1.2, 260, 0.3},
    {"efficientnet-lite3", kLite, 1.2, 1.4, 280, 0.3},
    {"efficientnet-lite4", kLite, 1.4, 1.8, 300, 0.3},
    {"efficientnetv2-b0", kV2Base, 1.0, 1.0, 224, 0.2},
    {"efficientnetv2-b1", kV2Base, 1.0, 1.1, 240, 0.2},
    {"efficientnetv2-b2", kV2Base, 1.1, 1.2, 260, 0.3},
    {"efficientnetv2-b3", kV2Base, 1.2, 1.4, 300, 0.3},
    {"efficientnetv2-s", kV2Small, 1.0, 1.0, 384, 0.2},
    {"efficientnetv2-m", kV2Medium, 1.0, 1.0, 480, 0.3},
    {"efficientnetv2-l", kV2Large, 1.0, 1.0, 480, 0.4},
}};

constexpr std::int64_t kHeadChannels = 1280;
constexpr int kMaxPhi = 32;

std::int64_t nearest_multiple(double value) {
  const auto multiples = static_cast<std::int64_t>(value + kDivisor / 2.0) / kDivisor;
  return std::max(kDivisor, multiples * kDivisor);
}

EfficientNetConfig scaled(const Family& family, double width_coefficient,
                          double depth_coefficient) {
  const auto channels = [&](std::int64_t base) {
    const auto unscaled = static_cast<double>(base);
    return family.keeps_90_percent ? round_width(unscaled, width_coefficient)
                                   : nearest_multiple(unscaled * width_coefficient);
  };
  const auto at_an_end = [&](std::int64_t base) {
    return family.scales_ends ? channels(base) : base;
  };
  EfficientNetConfig config;
  config.activation = family.activation;
  config.stem_channels = at_an_end(family.stages.front().in_channels);
  config.head_channels = at_an_end(kHeadChannels);
  std::int64_t in_channels = config.stem_channels;
  for (StageConfig stage : family.stages) {
    const bool end = config.stages.empty() || config.stages.size() + 1 == family.stages.size();
    stage.in_channels = in_channels;
    stage.out_channels = channels(stage.out_channels);
    if (family.scales_ends || !end) stage.layers = round_depth(stage.layers, depth_coefficient);
    if (!family.has_se) stage.se_ratio = 0;
    in_channels = stage.out_channels;
    config.stages.push_back(stage);
  }
  return config;
}

[[noreturn]] void refuse(const EfficientNetConfig& config, const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument,
              (config.name.empty() ? "EfficientNet" : config.name) + ": " + what);
}

void check_stage(const EfficientNetConfig& config, std::size_t i, std::int64_t in_channels) {
  const StageConfig& stage = config.stages[i];
  const std::string where = "stage " + std::to_string(i) + ": ";
  if (stage.in_channels != in_channels)
    refuse(config, where + "in_channels is " + std::to_string(stage.in_channels) +
                       ", but what comes before gives " + std::to_string(in_channels));
  if (stage.out_channels <= 0) refuse(config, where + "out_channels must be positive");
  if (stage.layers <= 0) refuse(config, where + "layers must be positive");
  if (stage.kernel <= 0 || stage.kernel % 2 == 0)
    refuse(config, where + "kernel must be odd, not " + std::to_string(stage.kernel));
  if (stage.stride <= 0 || stage.stride > stage.kernel)
    refuse(config, where + "stride must be from 1 to the kernel's size, not " +
                       std::to_string(stage.stride));
  if (!(stage.expand_ratio >= 1)) refuse(config, where + "expand_ratio must be at least 1");
  if (!(stage.se_ratio >= 0 && stage.se_ratio <= 1))
    refuse(config, where + "se_ratio must be from 0 to 1");
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
        if (stage.expand_ratio != 1) convolution(in, expanded, 1, 1);
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

void check(const EfficientNetConfig& config) {
  if (config.stem_channels <= 0) refuse(config, "stem_channels must be positive");
  if (config.head_channels <= 0) refuse(config, "head_channels must be positive");
  if (config.image_size <= 0) refuse(config, "image_size must be positive");
  if (config.num_classes < 0) refuse(config, "num_classes must not be negative");
  if (!(config.batch_norm_eps > 0)) refuse(config, "batch_norm_eps must be positive");
  if (!(config.drop_connect_rate >= 0 && config.drop_connect_rate < 1))
    refuse(config, "drop_connect_rate must be at least 0 and below 1");
  if (!(config.dropout >= 0 && config.dropout < 1))
    refuse(config, "dropout must be at least 0 and below 1");
  if (config.stages.empty()) refuse(config, "there are no stages");
  std::int64_t channels = config.stem_channels;
  for (std::size_t i = 0; i < config.stages.size(); ++i) {
    check_stage(config, i, channels);
    channels = config.stages[i].out_channels;
  }
  if (config.detail_stage < 0 || config.detail_stage > std::ssize(config.stages))
    refuse(config, "detail_stage must be from 0 to the number of stages, " +
                       std::to_string(config.stages.size()));
}

AxisPadding padding_of(Padding padding, std::int64_t size, std::int64_t kernel,
                       std::int64_t stride) noexcept {
  if (padding == Padding::kSymmetric) return {(kernel - 1) / 2, (kernel - 1) / 2};
  const std::int64_t total =
      std::max<std::int64_t>(0, (strided(size, stride) - 1) * stride + kernel - size);
  return {total / 2, total - total / 2};
}

std::int64_t round_width(double channels, double width_coefficient) {
  const double wanted = channels * width_coefficient;
  const std::int64_t rounded = nearest_multiple(wanted);
  return static_cast<double>(rounded) < 0.9 * wanted ? rounded + kDivisor : rounded;
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
  names.reserve(kVariants.size());
  for (const Variant& variant : kVariants) names.push_back(variant.name);
  return names;
}

EfficientNetConfig efficientnet(std::string_view name) {
  std::string known;
  for (const Variant& variant : kVariants) {
    if (variant.name == name) {
      EfficientNetConfig config =
          scaled(variant.family, variant.width_coefficient, variant.depth_coefficient);
      config.name = variant.name;
      config.image_size = variant.image_size;
      config.dropout = variant.dropout;
      return config;
    }
    known += (known.empty() ? "" : ", ") + std::string(variant.name);
  }
  throw Error(
      ErrorCode::kInvalidArgument,
      "\"" + std::string(name) + "\" is not an EfficientNet known here; known are " + known);
}

EfficientNetConfig efficientnet_for_phi(double phi, const CompoundCoefficients& coefficients) {
  if (!(phi >= 0 && phi <= kMaxPhi))
    throw Error(ErrorCode::kInvalidArgument, "phi must be from 0 to " + std::to_string(kMaxPhi));
  if (!(coefficients.alpha >= 1 && coefficients.beta >= 1 && coefficients.gamma >= 1))
    throw Error(ErrorCode::kInvalidArgument, "alpha, beta and gamma must be at least 1");
  EfficientNetConfig config =
      scaled(kB, std::pow(coefficients.beta, phi), std::pow(coefficients.alpha, phi));
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "efficientnet-phi%g", phi);
  config.name = phi == 0 ? "efficientnet-b0" : name.data();
  config.image_size = nearest_multiple(224 * std::pow(coefficients.gamma, phi));
  // From B0 to B7 the published models go from 0.2 to 0.5 in about these steps.
  config.dropout = std::min(0.5, 0.2 + 0.05 * phi);
  return config;
}

std::size_t blocks_of_stages(const EfficientNetConfig& config, std::size_t stages) {
  std::size_t blocks = 0;
  for (std::size_t s = 0; s < stages; ++s)
    blocks += static_cast<std::size_t>(config.stages[s].layers);
  return blocks;
}

std::int64_t detail_fold(const EfficientNetConfig& config) {
  std::int64_t fold = 1;
  for (auto s = static_cast<std::size_t>(config.detail_stage); s < config.stages.size(); ++s)
    fold *= config.stages[s].stride;
  return fold;
}

std::int64_t detail_channels(const EfficientNetConfig& config) {
  if (config.detail_stage == 0) return 0;
  const std::int64_t fold = detail_fold(config);
  return fold * fold *
         config.stages[static_cast<std::size_t>(config.detail_stage) - 1].out_channels;
}

Cost cost(const EfficientNetConfig& config, std::int64_t image_size) {
  check(config);
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
  if (budget.max_parameters <= 0 && budget.max_multiply_adds <= 0 && budget.max_milliseconds <= 0)
    throw Error(ErrorCode::kInvalidArgument,
                "The budget has no limit: set parameters, multiply-adds or milliseconds");
  if (budget.max_milliseconds > 0 && !measure)
    throw Error(ErrorCode::kInvalidArgument,
                "A budget in milliseconds needs a way to measure them");
  const auto config_at = [&](double phi) { return efficientnet_for_phi(phi, coefficients); };
  if (!fits(config_at(0), budget, measure)) {
    const Cost smallest = cost(config_at(0));
    throw Error(ErrorCode::kInvalidArgument,
                "Not even phi 0 fits the budget: it has " + std::to_string(smallest.parameters) +
                    " parameters and " + std::to_string(smallest.multiply_adds) +
                    " multiply-adds; allow more, or use a Lite model");
  }
  // Every cost rises with phi. Whole steps first, so that nothing far too large is ever measured.
  double phi = 0;
  while (phi < kMaxPhi && fits(config_at(phi + 1), budget, measure)) ++phi;
  if (phi == kMaxPhi) return config_at(phi);
  for (double step = 0.5; step >= 1.0 / 64; step /= 2)
    if (fits(config_at(phi + step), budget, measure)) phi += step;
  return config_at(phi);
}

}  // namespace bifocal::vision
