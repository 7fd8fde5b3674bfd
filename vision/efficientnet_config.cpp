#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "bifocal/error.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::vision {
namespace {

// Far beyond any model, so that a hostile file cannot ask for sizes that overflow.
constexpr std::int64_t kMaxChannels = 1 << 14;
constexpr std::int64_t kMaxLayers = 1 << 8;
constexpr std::size_t kMaxStages = 32;
constexpr std::int64_t kMaxImageSize = 1 << 14;
constexpr double kMaxRatio = 64;

template <typename T>
struct Named {
  T value;
  std::string_view name;
};
constexpr std::array<Named<BlockKind>, 3> kKinds{{{BlockKind::kMBConv, "mbconv"},
                                                  {BlockKind::kFusedMBConv, "fused_mbconv"},
                                                  {BlockKind::kConv, "conv"}}};
constexpr std::array<Named<Padding>, 2> kPaddings{
    {{Padding::kSame, "same"}, {Padding::kSymmetric, "symmetric"}}};
constexpr std::array<Named<ConvActivation>, 3> kActivations{{{ConvActivation::kSilu, "silu"},
                                                             {ConvActivation::kRelu6, "relu6"},
                                                             {ConvActivation::kSilu, "swish"}}};

template <typename T, std::size_t N>
std::string name_of(const std::array<Named<T>, N>& table, T value) {
  for (const auto& entry : table)
    if (entry.value == value) return std::string(entry.name);
  return {};
}

template <typename T, std::size_t N>
T read_named(const core::JsonConfig& config, std::string_view key,
             const std::array<Named<T>, N>& table, T otherwise) {
  if (!config.has(key)) return otherwise;
  const std::string name = config.string(key);
  std::string known;
  for (const auto& entry : table) {
    if (entry.name == name) return entry.value;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw config.wrong(key, "\"" + name + "\" is not one of " + known);
}

StageConfig read_stage(const core::JsonConfig& config) {
  StageConfig stage;
  stage.kind = read_named(config, "kind", kKinds, BlockKind::kMBConv);
  stage.expand_ratio = config.number("expand_ratio");
  stage.kernel = config.integer("kernel", 1, 15);
  stage.stride = config.integer("stride", 1, 4);
  stage.in_channels = config.integer("in_channels", 1, kMaxChannels);
  stage.out_channels = config.integer("out_channels", 1, kMaxChannels);
  stage.layers = config.integer("layers", 1, kMaxLayers);
  stage.se_ratio = config.number_or("se_ratio", 0);
  if (stage.expand_ratio > kMaxRatio) throw config.wrong("expand_ratio", "must be at most 64");
  return stage;
}

// What any form may say beside the architecture.
void read_overrides(const core::JsonConfig& config, EfficientNetConfig& network) {
  network.image_size = config.integer_or("image_size", network.image_size, 32, kMaxImageSize);
  network.padding = read_named(config, "padding", kPaddings, network.padding);
  network.activation = read_named(config, "activation", kActivations, network.activation);
  network.batch_norm_eps = config.number_or("batch_norm_eps", network.batch_norm_eps);
  network.drop_connect_rate = config.number_or("drop_connect_rate", network.drop_connect_rate);
  network.dropout = config.number_or("dropout", network.dropout);
  network.num_classes = config.integer_or("num_classes", network.num_classes, 0, 1 << 24);
}

EfficientNetConfig read_own_form(const core::JsonConfig& config) {
  EfficientNetConfig network;
  network.name = config.string_or("architecture", "efficientnet");
  network.stem_channels = config.integer("stem_channels", 1, kMaxChannels);
  network.head_channels = config.integer("head_channels", 1, kMaxChannels);
  const std::vector<core::JsonConfig> stages = config.children("stages");
  if (stages.size() > kMaxStages) throw config.wrong("stages", "are more than 32");
  for (const core::JsonConfig& stage : stages) network.stages.push_back(read_stage(stage));
  network.batch_norm_momentum =
      config.number_or("batch_norm_momentum", network.batch_norm_momentum);
  return network;
}

// One number for each of transformers' unscaled stages.
using PerStage = std::array<std::int64_t, 7>;

PerStage per_stage(const core::JsonConfig& config, std::string_view key, const PerStage& otherwise,
                   std::int64_t max) {
  if (!config.has(key)) return otherwise;
  const std::vector<double> numbers = config.numbers(key);
  PerStage result{};
  if (numbers.size() != result.size()) throw config.wrong(key, "expected seven numbers");
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (!(numbers[i] >= 1 && numbers[i] <= static_cast<double>(max)) ||
        numbers[i] != std::floor(numbers[i]))
      throw config.wrong(key, "expected whole numbers from 1 to " + std::to_string(max));
    result[i] = static_cast<std::int64_t>(numbers[i]);
  }
  return result;
}

// transformers pads the strided convolutions of the blocks that depthwise_padding lists evenly, the
// others by one more at the end, whatever the picture's size. That is SAME at the checkpoint's own
// resolution, and only where the list says so is the network the one that this library computes.
void check_depthwise_padding(const core::JsonConfig& config, const EfficientNetConfig& network) {
  std::vector<double> evenly_padded;
  double block = 0;
  std::int64_t size = (network.image_size + 1) / 2;
  for (const StageConfig& stage : network.stages) {
    if (stage.stride > 1 && size % 2 == 1) evenly_padded.push_back(block);
    size = (size + stage.stride - 1) / stage.stride;
    block += static_cast<double>(stage.layers);
  }
  std::vector<double> listed;
  if (config.has("depthwise_padding")) listed = config.numbers("depthwise_padding");
  // Blocks of stride 1 may be listed; their padding is even in any case.
  std::erase_if(listed, [&](double index) {
    double first = 0;
    for (const StageConfig& stage : network.stages) {
      if (index == first) return stage.stride == 1;
      first += static_cast<double>(stage.layers);
    }
    return true;
  });
  if (listed != evenly_padded)
    throw config.wrong("depthwise_padding", "is not TensorFlow's SAME padding at image_size " +
                                                std::to_string(network.image_size) +
                                                ", which is all that is supported");
}

// transformers writes the unscaled stages and the coefficients.
EfficientNetConfig read_transformers_form(const core::JsonConfig& config) {
  const double width = config.number("width_coefficient");
  const double depth = config.number_or("depth_coefficient", 3.1);
  if (!(width > 0 && width <= 16))
    throw config.wrong("width_coefficient", "must be above 0, to 16");
  if (!(depth > 0 && depth <= 16))
    throw config.wrong("depth_coefficient", "must be above 0, to 16");
  if (config.integer_or("depth_divisor", 8, 1, 1024) != 8)
    throw config.wrong("depth_divisor", "only 8 is supported");
  if (config.integer_or("num_channels", 3, 1, 1024) != 3)
    throw config.wrong("num_channels", "only 3 (RGB) is supported");
  if (config.string_or("pooling_type", "mean") != "mean")
    throw config.wrong("pooling_type", "only mean is supported");
  constexpr std::int64_t kMaxUnscaled = 1 << 10;
  const PerStage kernels = per_stage(config, "kernel_sizes", {3, 3, 5, 3, 5, 5, 3}, 15);
  const PerStage in =
      per_stage(config, "in_channels", {32, 16, 24, 40, 80, 112, 192}, kMaxUnscaled);
  const PerStage out =
      per_stage(config, "out_channels", {16, 24, 40, 80, 112, 192, 320}, kMaxUnscaled);
  const PerStage strides = per_stage(config, "strides", {1, 2, 2, 2, 1, 2, 1}, 2);
  const PerStage layers = per_stage(config, "num_block_repeats", {1, 2, 2, 3, 3, 4, 1}, 16);
  const PerStage ratios = per_stage(config, "expand_ratios", {1, 6, 6, 6, 6, 6, 6}, 64);

  EfficientNetConfig network;
  network.image_size = config.integer_or("image_size", 600, 1, kMaxImageSize);
  network.stem_channels = round_width(32, width);
  network.head_channels = round_width(1280, width);
  if (config.integer_or("hidden_dim", network.head_channels, 1, kMaxChannels) !=
      network.head_channels)
    throw config.wrong("hidden_dim", "is not 1280 scaled by width_coefficient (" +
                                         std::to_string(network.head_channels) + ")");
  for (std::size_t i = 0; i < kernels.size(); ++i)
    network.stages.push_back({BlockKind::kMBConv, static_cast<double>(ratios[i]), kernels[i],
                              strides[i], round_width(static_cast<double>(in[i]), width),
                              round_width(static_cast<double>(out[i]), width),
                              round_depth(layers[i], depth),
                              config.number_or("squeeze_expansion_ratio", 0.25)});
  check_depthwise_padding(config, network);
  network.activation = read_named(config, "hidden_act", kActivations, ConvActivation::kSilu);
  network.dropout = config.number_or("dropout_rate", 0.5);
  network.name = "efficientnet";
  for (const std::string_view known : efficientnet_names())
    if (efficientnet(known).stages == network.stages) network.name = known;
  return network;
}

// timm and torchvision write efficientnet_b0, tf_efficientnet_b0.ns_jft_in1k, efficientnet_v2_s;
// the papers, lukemelas and we write efficientnet-b0, efficientnetv2-s.
EfficientNetConfig read_named_form(const core::JsonConfig& config) {
  std::string name = config.string("architecture");
  name = name.substr(0, name.find('.'));
  const bool underscored = name.find('_') != std::string::npos;
  const bool from_tensorflow = name.starts_with("tf_");
  if (from_tensorflow) name = name.substr(3);
  std::replace(name.begin(), name.end(), '_', '-');
  if (name.starts_with("efficientnet-v2")) name.erase(12, 1);
  EfficientNetConfig network;
  try {
    network = efficientnet(name);
  } catch (const Error& error) {
    throw config.wrong("architecture", error.message());
  }
  // PyTorch's own trainings use its padding and epsilon; all others came from TensorFlow.
  if (underscored && !from_tensorflow) {
    network.padding = Padding::kSymmetric;
    network.batch_norm_eps = 1e-5;
  }
  if (config.has("model_args") && !config.child("model_args").json().empty())
    throw config.wrong("model_args", "changes of timm's architectures are not supported");
  return network;
}

}  // namespace

EfficientNetConfig read_efficientnet_config(const core::JsonConfig& config) {
  EfficientNetConfig network;
  if (config.has("stages"))
    network = read_own_form(config);
  else if (config.has("width_coefficient"))
    network = read_transformers_form(config);
  else if (config.has("architecture"))
    network = read_named_form(config);
  else
    throw config.wrong("architecture",
                       "is missing: expected an EfficientNet's name, transformers' "
                       "width_coefficient, or a list of stages");
  read_overrides(config, network);
  try {
    check(network);
  } catch (const Error& error) {
    throw Error(ErrorCode::kInvalidBundle, config.source() + ": " + error.message());
  }
  return network;
}

nlohmann::json to_json(const EfficientNetConfig& config) {
  nlohmann::json stages = nlohmann::json::array();
  for (const StageConfig& stage : config.stages)
    stages.push_back({{"kind", name_of(kKinds, stage.kind)},
                      {"expand_ratio", stage.expand_ratio},
                      {"kernel", stage.kernel},
                      {"stride", stage.stride},
                      {"in_channels", stage.in_channels},
                      {"out_channels", stage.out_channels},
                      {"layers", stage.layers},
                      {"se_ratio", stage.se_ratio}});
  return {{"model_type", "efficientnet"},
          {"architecture", config.name},
          {"image_size", config.image_size},
          {"stem_channels", config.stem_channels},
          {"head_channels", config.head_channels},
          {"stages", std::move(stages)},
          {"activation", name_of(kActivations, config.activation)},
          {"padding", name_of(kPaddings, config.padding)},
          {"batch_norm_eps", config.batch_norm_eps},
          {"batch_norm_momentum", config.batch_norm_momentum},
          {"drop_connect_rate", config.drop_connect_rate},
          {"dropout", config.dropout},
          {"num_classes", config.num_classes}};
}

}  // namespace bifocal::vision
