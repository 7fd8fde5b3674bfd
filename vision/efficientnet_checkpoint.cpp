#include "vision/efficientnet_checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "bifocal/error.h"
#include "core/safetensors.h"
#include "vision/efficientnet_dialects.h"

namespace bifocal::vision {
namespace {

constexpr std::int64_t kMaxChannels = 1 << 16;
constexpr std::int64_t kMaxLayers = 1 << 10;
constexpr std::int64_t kMaxImageSize = 1 << 14;

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
  if (stage.expand_ratio <= 0 || stage.expand_ratio > 64)
    throw config.wrong("expand_ratio", "must lie between 0 and 64");
  if (stage.se_ratio < 0 || stage.se_ratio > 1)
    throw config.wrong("se_ratio", "must lie between 0 and 1");
  return stage;
}

// What any form may say beside the architecture.
void read_overrides(const core::JsonConfig& config, EfficientNetConfig& network) {
  network.image_size = config.integer_or("image_size", network.image_size, 32, kMaxImageSize);
  network.padding = read_named(config, "padding", kPaddings, network.padding);
  network.activation = read_named(config, "activation", kActivations, network.activation);
  network.batch_norm_eps = config.number_or("batch_norm_eps", network.batch_norm_eps);
  network.drop_connect_rate = config.number_or("drop_connect_rate", network.drop_connect_rate);
  network.num_classes = config.integer_or("num_classes", network.num_classes, 0, 1 << 24);
  if (network.batch_norm_eps <= 0) throw config.wrong("batch_norm_eps", "must be positive");
  if (network.drop_connect_rate < 0 || network.drop_connect_rate >= 1)
    throw config.wrong("drop_connect_rate", "must lie between 0 and 1");
}

EfficientNetConfig read_own_form(const core::JsonConfig& config) {
  EfficientNetConfig network;
  network.name = config.string_or("architecture", "efficientnet");
  network.stem_channels = config.integer("stem_channels", 1, kMaxChannels);
  network.head_channels = config.integer("head_channels", 1, kMaxChannels);
  std::int64_t channels = network.stem_channels;
  for (const core::JsonConfig& entry : config.children("stages")) {
    network.stages.push_back(read_stage(entry));
    if (network.stages.back().in_channels != channels)
      throw entry.wrong("in_channels", "must be what comes before: " + std::to_string(channels));
    channels = network.stages.back().out_channels;
  }
  if (network.stages.empty()) throw config.wrong("stages", "must not be empty");
  network.dropout = config.number_or("dropout", network.dropout);
  network.batch_norm_momentum =
      config.number_or("batch_norm_momentum", network.batch_norm_momentum);
  return network;
}

std::vector<std::int64_t> whole_numbers(const core::JsonConfig& config, std::string_view key,
                                        std::int64_t max) {
  std::vector<std::int64_t> numbers;
  for (const double number : config.numbers(key)) {
    if (number < 1 || number > static_cast<double>(max) || number != std::floor(number))
      throw config.wrong(key, "expected whole numbers from 1 to " + std::to_string(max));
    numbers.push_back(static_cast<std::int64_t>(number));
  }
  return numbers;
}

// transformers writes the unscaled stages and the coefficients.
EfficientNetConfig read_transformers_form(const core::JsonConfig& config) {
  const double width = config.number("width_coefficient"),
               depth = config.number("depth_coefficient");
  if (width <= 0 || width > 64 || depth <= 0 || depth > 64)
    throw config.wrong("width_coefficient", "and depth_coefficient must lie between 0 and 64");
  if (config.integer_or("depth_divisor", 8, 1, 1024) != 8)
    throw config.wrong("depth_divisor", "only 8 is supported");
  const auto kernels = whole_numbers(config, "kernel_sizes", 15);
  const auto in = whole_numbers(config, "in_channels", kMaxChannels);
  const auto out = whole_numbers(config, "out_channels", kMaxChannels);
  const auto strides = whole_numbers(config, "strides", 4);
  const auto layers = whole_numbers(config, "num_block_repeats", kMaxLayers);
  const auto ratios = whole_numbers(config, "expand_ratios", 64);
  for (const auto* list : {&in, &out, &strides, &layers, &ratios})
    if (list->size() != kernels.size() || list->empty())
      throw config.wrong("kernel_sizes", "and the other lists of stages differ in length");

  EfficientNetConfig network;
  network.name = "efficientnet-" + std::to_string(width) + "x" + std::to_string(depth);
  for (const std::string_view known : efficientnet_names()) {
    const EfficientNetConfig named = efficientnet(known);
    if (known.substr(0, 14) == "efficientnet-b" &&
        named.head_channels == config.integer_or("hidden_dim", 0, 0, kMaxChannels) &&
        named.image_size == config.integer_or("image_size", 0, 0, kMaxImageSize))
      network.name = known;
  }
  network.image_size = config.integer_or("image_size", 224, 32, kMaxImageSize);
  network.stem_channels = round_width(static_cast<double>(in.front()), width);
  network.head_channels = round_width(1280, width);
  if (config.has("hidden_dim") &&
      config.integer("hidden_dim", 1, kMaxChannels) != network.head_channels)
    throw config.wrong("hidden_dim", "is not 1280 scaled by width_coefficient (" +
                                         std::to_string(network.head_channels) + ")");
  std::int64_t channels = network.stem_channels;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    StageConfig stage{BlockKind::kMBConv,
                      static_cast<double>(ratios[i]),
                      kernels[i],
                      strides[i],
                      channels,
                      round_width(static_cast<double>(out[i]), width),
                      round_depth(layers[i], depth),
                      config.number_or("squeeze_expansion_ratio", 0.25)};
    channels = stage.out_channels;
    network.stages.push_back(stage);
  }
  network.activation = read_named(config, "hidden_act", kActivations, ConvActivation::kSilu);
  network.dropout = config.number_or("dropout_rate", 0.2);
  return network;
}

// timm and torchvision write efficientnet_b0, tf_efficientnet_b0.ns_jft_in1k; the papers,
// lukemelas and we write efficientnet-b0.
EfficientNetConfig read_named_form(const core::JsonConfig& config) {
  std::string name = config.string("architecture");
  name = name.substr(0, name.find('.'));
  const bool underscored = name.find('_') != std::string::npos;
  const bool from_tensorflow = name.starts_with("tf_");
  if (from_tensorflow) name = name.substr(3);
  std::replace(name.begin(), name.end(), '_', '-');
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
  return network;
}

// torchvision's larger models were ported from TensorFlow with its epsilon, not its padding.
bool has_tensorflow_eps_in_torchvision(std::string_view name) {
  return name == "efficientnet-b5" || name == "efficientnet-b6" || name == "efficientnet-b7" ||
         name.starts_with("efficientnetv2");
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
  return {{"architecture", config.name},
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

void load_efficientnet_weights(EfficientNetImpl& module, const nn::StateDict& weights,
                               std::string_view source) {
  const EfficientNetDialect& dialect = recognise_dialect(weights, source);
  nn::load_weights(module, translate(weights, dialect, module.config()), source);
}

EfficientNet load_efficientnet(const std::filesystem::path& directory) {
  const core::JsonConfig config = core::JsonConfig::read(directory / "config.json");
  EfficientNetConfig network = read_efficientnet_config(config);
  const core::Safetensors file = core::Safetensors::open(directory / "model.safetensors");
  const nn::StateDict weights = nn::read_state_dict(file);
  const EfficientNetDialect& dialect = recognise_dialect(weights, file.source());
  if (dialect.name == "torchvision" && !config.has("batch_norm_eps") &&
      has_tensorflow_eps_in_torchvision(network.name))
    network.batch_norm_eps = 1e-3;
  // The weights know best whether there is a classifier, and of how many classes.
  const std::string classifier = classifier_weight(dialect, weights);
  const bool has_rows = !classifier.empty() && weights.at(classifier).dim() == 2;
  network.num_classes = has_rows ? weights.at(classifier).size(0) : 0;
  EfficientNet module(network);
  nn::load_weights(*module, translate(weights, dialect, network), file.source());
  module->eval();
  return module;
}

}  // namespace bifocal::vision
