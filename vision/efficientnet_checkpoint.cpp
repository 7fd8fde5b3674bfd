#include "vision/efficientnet_checkpoint.h"

#include <string>

#include "bifocal/error.h"
#include "core/safetensors.h"
#include "nn/linear.h"
#include "vision/efficientnet_dialects.h"

namespace bifocal::vision {
namespace {

// torchvision's larger models were ported from TensorFlow with its epsilon, not its padding.
bool has_tensorflow_eps_in_torchvision(std::string_view name) {
  return name == "efficientnet-b5" || name == "efficientnet-b6" || name == "efficientnet-b7" ||
         name.starts_with("efficientnetv2");
}

// A config that only names the architecture leaves padding and epsilon to whoever published the
// weights.
void settle_numerics(const core::JsonConfig& config, const EfficientNetDialect& dialect,
                     EfficientNetConfig& network) {
  if (config.has("stages") || config.has("width_coefficient")) return;
  const bool says_padding = config.has("padding");
  const bool says_eps = config.has("batch_norm_eps");
  if (dialect.name == "torchvision") {
    if (!says_padding) network.padding = Padding::kSymmetric;
    if (!says_eps)
      network.batch_norm_eps = has_tensorflow_eps_in_torchvision(network.name) ? 1e-3 : 1e-5;
  }
  // timm publishes most models twice, trained with either padding, under the same weight names.
  const bool timms_own_name = config.string("architecture").find('_') != std::string::npos;
  if (dialect.name == "timm" && !timms_own_name && !(says_padding && says_eps))
    throw config.wrong("architecture",
                       "the weights are timm's, which come with TensorFlow's padding (tf_...) and "
                       "without: write timm's own name, or padding and batch_norm_eps as well");
}

// So that a config which promises far more than the file holds allocates nothing.
void check_size(const EfficientNetConfig& network, const nn::StateDict& weights,
                std::string_view source) {
  std::int64_t present = 0;
  for (const auto& [name, weight] : weights) present += weight.numel();
  const std::int64_t expected = cost(network, /*image_size=*/1).parameters;
  if (expected / 2 > present)
    throw Error(ErrorCode::kInvalidBundle,
                std::string(source) + ": holds " + std::to_string(present) +
                    " numbers, but the config describes " + network.name + " with " +
                    std::to_string(expected) + " parameters");
}

// Rows of the classifier; 0 where there is none.
std::int64_t classes_in(const nn::StateDict& weights, const EfficientNetDialect& dialect) {
  const std::string name = classifier_weight(dialect, weights);
  return !name.empty() && weights.at(name).dim() == 2 ? weights.at(name).size(0) : 0;
}

}  // namespace

void load_efficientnet_weights(EfficientNetImpl& module, const nn::StateDict& weights,
                               std::string_view source) {
  const EfficientNetDialect& dialect = recognise_dialect(weights, source);
  nn::load_weights(module, translate(weights, dialect, module.config(), source), source);
}

nn::StateDict published_efficientnet_weights(const nn::StateDict& weights,
                                             const nn::StateDict& published,
                                             const EfficientNetConfig& config,
                                             std::string_view source) {
  const EfficientNetDialect& dialect = recognise_dialect(published, source);
  nn::StateDict renamed;
  for (const auto& [name, tensor] : published)
    for (const auto& [ours, same] : translate({{name, tensor}}, dialect, config, source))
      if (const auto found = weights.find(ours); found != weights.end())
        renamed.emplace(name, found->second);
  return renamed;
}

EfficientNet load_efficientnet(const std::filesystem::path& directory, std::int64_t detail_stage,
                               nn::Holding holding) {
  const core::JsonConfig config = core::JsonConfig::read(directory / "config.json");
  EfficientNetConfig network = read_efficientnet_config(config);
  const core::Safetensors file = core::Safetensors::open(directory / "model.safetensors");
  const nn::StateDict weights = nn::map_state_dict(file);
  const EfficientNetDialect& dialect = recognise_dialect(weights, file.source());
  settle_numerics(config, dialect, network);
  network.detail_stage = detail_stage;
  if (!config.has("num_classes")) network.num_classes = classes_in(weights, dialect);
  check_size(network, weights, file.source());
  const nn::WeightsFollow weights_follow;
  EfficientNet module(network);
  nn::load_weights(*module, translate(weights, dialect, network, file.source()), file.source(),
                   holding);
  module->eval();
  return module;
}

}  // namespace bifocal::vision
