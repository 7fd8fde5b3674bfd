#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::vision {

enum class BlockKind { kMBConv, kFusedMBConv, kConv };  // kConv: V2's plain first stage
enum class Padding { kSame, kSymmetric };  // TensorFlow's "SAME", or (kernel - 1) / 2 on every side
enum class ConvActivation { kSilu, kRelu6 };

// One stage: `layers` blocks, the first with the stride.
struct StageConfig {
  BlockKind kind = BlockKind::kMBConv;
  double expand_ratio = 1;  // unused by kConv; an MBConv of ratio 1 has no expansion
  std::int64_t kernel = 3;  // odd
  std::int64_t stride = 1;
  std::int64_t in_channels = 0;
  std::int64_t out_channels = 0;
  std::int64_t layers = 1;
  double se_ratio = 0;  // of the block's input channels; 0: no squeeze-and-excitation

  friend bool operator==(const StageConfig&, const StageConfig&) = default;
};

// A whole network as data: what is built, costed, saved and compared.
struct EfficientNetConfig {
  std::string name;  // "efficientnet-b0"
  std::int64_t image_size = 224;
  std::int64_t stem_channels = 32;
  std::int64_t head_channels = 1280;
  std::vector<StageConfig> stages;  // scaled already
  ConvActivation activation = ConvActivation::kSilu;
  Padding padding = Padding::kSame;
  double batch_norm_eps = 1e-3;
  double batch_norm_momentum = 0.01;  // the weight of the newest batch, as PyTorch counts it
  double drop_connect_rate = 0.2;     // of the block after the last; it rises to it from 0
  double dropout = 0.2;
  std::int64_t num_classes = 1000;  // 0: no classifier
  // Tokens have, after the head's channels, those of the map after so many stages: what the strides
  // above blur. Of a map that is finer by `detail_fold`, a token has a square of cells side by side
  // (space to depth, Shi et al. 2016), zeros where the map ends. 0: the head's channels alone. Said
  // by whoever reads the tokens; an encoder's files do not.
  std::int64_t detail_stage = 0;

  friend bool operator==(const EfficientNetConfig&, const EfficientNetConfig&) = default;
};

// Throws Error(kInvalidArgument) that names the first value which no network can have: a size that
// is not positive, an even kernel, stages whose channels do not follow from one another, a rate
// outside [0, 1).
void check(const EfficientNetConfig& config);

// Zeros around one axis of a convolution's input. Its output is ceil(size / stride) long.
struct AxisPadding {
  std::int64_t before = 0;
  std::int64_t after = 0;
};
AxisPadding padding_of(Padding padding, std::int64_t size, std::int64_t kernel,
                       std::int64_t stride) noexcept;

// Compound scaling (Tan and Le 2019): depth alpha^phi, width beta^phi, resolution gamma^phi.
struct CompoundCoefficients {
  double alpha = 1.2, beta = 1.1, gamma = 1.15;
};
std::int64_t round_width(double channels, double width_coefficient);      // to 8, never below 90 %
std::int64_t round_depth(std::int64_t layers, double depth_coefficient);  // ceil
// Inside of a block with `in_channels`: what it expands to, and what squeeze-and-excitation reduces
// to.
std::int64_t expanded_channels(std::int64_t in_channels, double expand_ratio);
std::int64_t squeezed_channels(std::int64_t in_channels, double se_ratio);

// "efficientnet-b0".."b7", "efficientnet-lite0".."lite4", "efficientnetv2-b0".."b3", "-s", "-m",
// "-l". Padding and batch norms are those of the original TensorFlow models. Throws
// Error(kInvalidArgument) that lists the names.
EfficientNetConfig efficientnet(std::string_view name);
std::vector<std::string_view> efficientnet_names();
// B0 scaled by any phi from 0 to 32; phi 0 is B0. The resolution is rounded to a multiple of 8.
// Throws Error(kInvalidArgument) for another phi and for coefficients below 1.
EfficientNetConfig efficientnet_for_phi(double phi, const CompoundCoefficients& = {});

std::size_t blocks_of_stages(const EfficientNetConfig& config, std::size_t stages);  // the first
// Cells of the map after detail_stage that a token has along either side, and what channels they
// add to it: 0 without a detail_stage.
std::int64_t detail_fold(const EfficientNetConfig& config);
std::int64_t detail_channels(const EfficientNetConfig& config);

struct Cost {
  std::int64_t parameters = 0;     // trainable, classifier included
  std::int64_t multiply_adds = 0;  // of one image at `image_size`: convolutions and linears
};
// Without building anything.
Cost cost(const EfficientNetConfig& config, std::int64_t image_size = 0 /* the config's own */);

struct Budget {
  std::int64_t max_parameters = 0;     // 0: no limit
  std::int64_t max_multiply_adds = 0;  // 0: no limit
  double max_milliseconds = 0;         // 0: no limit
};
// The largest phi (to 1/64) whose model fits. `measure` gives milliseconds an image for a config
// and is called only where max_milliseconds is set: for each whole phi up to the first that does
// not fit, then six times below it. Throws Error(kInvalidArgument) where the budget has no limit,
// where milliseconds are limited without a measure, and where not even phi 0 fits, saying what phi
// 0 costs.
EfficientNetConfig largest_within(
    const Budget& budget, const std::function<double(const EfficientNetConfig&)>& measure = {},
    const CompoundCoefficients& = {});

}  // namespace bifocal::vision
