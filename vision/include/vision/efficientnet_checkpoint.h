#pragma once

#include <filesystem>
#include <string_view>

#include "core/json_config.h"
#include "nn/weights.h"
#include "vision/efficientnet.h"

namespace bifocal::vision {

// What a checkpoint's config.json describes; docs/checkpoints.md has examples. One of
//  - ours, whole: {"model_type": "efficientnet", "architecture": name, "stages": [...], ...}, as
//    to_json() writes it;
//  - a name: {"architecture": ...} in our spelling ("efficientnet-lite0"), timm's
//    ("tf_efficientnet_b0") or torchvision's ("efficientnet_v2_s");
//  - transformers' {"model_type": "efficientnet", "width_coefficient": ...}.
// Any may add image_size, num_classes, padding, batch_norm_eps, activation, drop_connect_rate and
// dropout. Throws Error(kInvalidBundle) that names the key.
EfficientNetConfig read_efficientnet_config(const core::JsonConfig& config);
nlohmann::json to_json(const EfficientNetConfig& config);  // our form; read back unchanged

// The dialect of the weights (ours, timm's, torchvision's, transformers', lukemelas's) is
// recognised by their names. Throws Error(kInvalidBundle) naming each missing, extra or mis-shaped
// weight.
void load_efficientnet_weights(EfficientNetImpl& module, const nn::StateDict& weights,
                               std::string_view source);

// The way back: `weights` under our names, as those of `published` (a checkpoint of a network of
// this config) that they make up. How tuned stages are laid over the checkpoint that they come
// from.
nn::StateDict published_efficientnet_weights(const nn::StateDict& weights,
                                             const nn::StateDict& published,
                                             const EfficientNetConfig& config,
                                             std::string_view source);

// A directory in the Hub's layout: config.json and model.safetensors. Where the config only names
// the architecture, padding and batch-norm eps are those of the dialect; without num_classes there
// are as many classes as the weights have. `detail_stage` is the config's. In eval mode. Throws
// Error(kInvalidBundle).
EfficientNet load_efficientnet(const std::filesystem::path& directory,
                               std::int64_t detail_stage = 0,
                               nn::Holding holding = nn::Holding::kCopied);

}  // namespace bifocal::vision
