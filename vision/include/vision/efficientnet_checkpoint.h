#pragma once

#include <filesystem>
#include <string_view>

#include "core/json_config.h"
#include "nn/weights.h"
#include "vision/efficientnet.h"

namespace bifocal::vision {

// A directory in the Hub's layout: config.json + model.safetensors. The config may be ours
// ({"model_type": "efficientnet", "architecture": "efficientnet-lite0", ...}), timm's
// ({"architecture": "tf_efficientnet_b0", ...}) or transformers' ({"model_type": "efficientnet",
// "width_coefficient": ...}). The dialect of the weights (timm, torchvision, transformers,
// lukemelas) is recognised by their names; batch-norm eps and padding are those of the source.
// Throws Error(kInvalidBundle) naming each missing, extra or mis-shaped weight.
EfficientNetConfig read_efficientnet_config(const core::JsonConfig& config);
nlohmann::json to_json(const EfficientNetConfig& config);  // our form; read back unchanged
void load_efficientnet_weights(EfficientNetImpl& module, const nn::StateDict& weights,
                               std::string_view source);
EfficientNet load_efficientnet(const std::filesystem::path& directory);

}  // namespace bifocal::vision
