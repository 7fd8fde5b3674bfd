#include "training/encoders.h"

#include <string>
#include <utility>

#include "bifocal/error.h"
#include "models/bundle.h"
#include "models/fusion_model.h"
#include "text/bert_checkpoint.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::training {

TrainConfig with_encoders_of_bundle(TrainConfig config) {
  if (config.from_bundle.empty()) return config;
  if (!config.vision.empty() || !config.text.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "from_bundle brings both encoders: leave out vision and text, or from_bundle");
  const models::Bundle bundle = models::Bundle::open(config.from_bundle);
  config.vision = bundle.vision_directory().string();
  config.text = bundle.text_directory().string();
  const std::int64_t detail = bundle.fusion().detail_stage;
  if (config.detail_stage != 0 && config.detail_stage != detail)
    throw Error(ErrorCode::kInvalidArgument, "detail_stage is " +
                                                 std::to_string(config.detail_stage) + ", but " +
                                                 config.from_bundle + " was trained with " +
                                                 std::to_string(detail) + "; leave it out");
  config.detail_stage = detail;
  return config;
}

Encoders load_encoders(const TrainConfig& config) {
  for (const auto& [key, value] : {std::pair{"vision", config.vision}, {"text", config.text}})
    if (value.empty())
      throw Error(ErrorCode::kInvalidArgument, std::string(key) + " is missing: --" + key +
                                                   " names the directory of the encoder, or "
                                                   "--from-bundle a bundle to take both from");
  Encoders encoders;
  encoders.vision = vision::load_efficientnet(config.vision, config.detail_stage);
  encoders.preprocess =
      config.preprocessor.empty()
          ? models::read_preprocess(config.vision)
          : vision::Preprocess::from_config(core::JsonConfig::read(config.preprocessor));
  encoders.text = text::load_bert(config.text);
  encoders.tokenizer = text::load_tokenizer(config.text);
  return encoders;
}

}  // namespace bifocal::training
