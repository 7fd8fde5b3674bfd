#include "models/fusion_model.h"

#include <cstring>

#include "bifocal/error.h"
#include "core/json_config.h"
#include "core/safetensors.h"
#include "nn/kernel_choice.h"

namespace bifocal::models {

std::shared_ptr<const FusionModel> FusionModel::load(const Bundle& bundle, nn::Precision,
                                                     nn::PackedWeights*) {
  auto model = std::make_shared<FusionModel>();
  model->preprocess_ = vision::Preprocess::from_config(
      core::JsonConfig::read(bundle.vision_directory() / "preprocessor_config.json"));
  model->tokenizer_ = text::load_tokenizer(bundle.text_directory());
  model->max_tokens_ =
      core::JsonConfig::read(bundle.text_directory() / "config.json").integer("max_tokens", 1, 512);
  model->fusion_config_ = bundle.fusion();
  const core::Safetensors file = core::Safetensors::open(bundle.fusion_weights());
  const core::TensorView& weights = file.at("weights");
  const auto size = static_cast<std::size_t>(bundle.fusion().embedding_size);
  if (weights.data.size() != size * sizeof(float))
    throw Error(ErrorCode::kInvalidBundle, "weights are not as many as the embedding's numbers");
  model->weights_.resize(size);
  std::memcpy(model->weights_.data(), weights.data.data(), weights.data.size());
  return model;
}

}  // namespace bifocal::models

namespace bifocal::nn {

Precision fastest_precision() { return Precision::kFp32; }
void forget_choices() {}

}  // namespace bifocal::nn
