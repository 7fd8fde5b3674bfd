#include "training/preset_run.h"

#include <algorithm>
#include <sstream>
#include <string>
#include <utility>

#include "bifocal/error.h"
#include "core/json_config.h"
#include "core/safetensors.h"
#include "nn/weights.h"
#include "training/model_card.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::training {

namespace fs = std::filesystem;

EncodingOptions begin_encoding(const TrainConfig& config, const RunOptions& options,
                               const DataSets& data) {
  EncodingOptions encoding{
      config.cache.empty() ? run_directory(config) / "cache" : fs::path(config.cache),
      thread_count(config), options.encoding, options.interrupted};
  if (options.say)
    options.say("encoding " + std::to_string(data.train.size()) + " + " +
                std::to_string(data.validation.size()) +
                " records with the frozen towers, or finding them in " + encoding.cache.string());
  return encoding;
}

void use_pooled_settings(LoopSettings& settings, const TrainConfig& config) {
  settings.epochs = config.pooled_epochs;
  settings.batch_size = static_cast<std::size_t>(config.pooled_batch_size);
  settings.average_decay = config.pooled_average_decay;
  settings.accumulation = 1;
  settings.bf16 = false;
}

Augmentation augmentation_of(const TrainConfig& config) {
  Augmentation augmentation;
  if (config.crop_min_area < 1) {
    augmentation.crop = RandomResizedCrop{};
    augmentation.crop->min_area = config.crop_min_area;
  }
  augmentation.horizontal_flip = config.horizontal_flip;
  augmentation.rotation = config.rotation;
  augmentation.color_jitter = {config.color_jitter, config.color_jitter, config.color_jitter,
                               config.hue};
  if (config.rand_augment_ops > 0) {
    augmentation.rand_augment = RandAugment{};
    augmentation.rand_augment->num_ops = static_cast<int>(config.rand_augment_ops);
    augmentation.rand_augment->magnitude = config.rand_augment_magnitude;
  }
  if (config.random_erasing > 0) {
    augmentation.erasing = RandomErasing{};
    augmentation.erasing->probability = config.random_erasing;
  }
  return augmentation;
}

ImageViews training_views(const TrainConfig& config) {
  return {config.horizontal_flip > 0, config.augmented_views, augmentation_of(config),
          static_cast<std::uint64_t>(config.seed)};
}

std::size_t frozen_stages(const TrainConfig& config, const Encoders& encoders) {
  const std::size_t all = encoders.vision->config().stages.size();
  const auto trained = static_cast<std::size_t>(config.vision_stages);
  if (trained >= all)
    throw Error(ErrorCode::kInvalidArgument,
                "vision_stages is " + std::to_string(trained) + ", and the vision encoder has " +
                    std::to_string(all) + " stages, the lowest of which stays frozen");
  const auto detail = static_cast<std::size_t>(config.detail_stage);
  if (trained > 0 && detail > 0 && all - trained > detail)
    throw Error(ErrorCode::kInvalidArgument,
                "vision_stages is " + std::to_string(trained) +
                    ", but the tokens take detail from stage " + std::to_string(detail) + " of " +
                    std::to_string(all) + ": train none, or all above that, " +
                    std::to_string(all - detail));
  return all - trained;
}

LoopSettings settings_of_seed(const TrainConfig& config, const std::string& phase,
                              std::int64_t seed) {
  const std::string which = config.seeds > 1 ? " " + std::to_string(seed) : "";
  LoopSettings settings = loop_settings(config, phase + which);
  settings.seed = static_cast<std::uint64_t>(seed);
  return settings;
}

Metrics run_phase(const fs::path& run, const RunOptions& options, const LoopSettings& settings,
                  Trainable& trainable, SeedLog& log) {
  std::string name = settings.phase;
  std::replace(name.begin(), name.end(), ' ', '-');
  const TrainingResult result = training::train(
      trainable, settings,
      {run / name, options.resume, options.observers, options.interrupted, options.group});
  log.core_hours += result.core_seconds / 3600;
  log.logs.push_back(run / name / "metrics.jsonl");
  log.interrupted = result.ended == TrainingResult::Ended::kInterrupted;
  return result.metrics;
}

UpperStages upper_stages(const TrainConfig& config, const Encoders& encoders) {
  if (config.vision_stages == 0) return {};
  return {encoders.vision, frozen_stages(config, encoders), config.drop_connect};
}

std::string what_of_vision(const TrainConfig& config) {
  if (config.vision_stages == 0) return "frozen";
  return "its top " + std::to_string(config.vision_stages) + " stages and head trained along";
}

void add_vision_delta(models::BundleParts& parts, const UpperStages& vision, const fs::path& made) {
  if (vision.empty()) return;
  nn::StateDict trained;
  for (const auto& entry : vision.tower()->named_parameters())
    if (entry.value().requires_grad()) trained.emplace(entry.key(), entry.value().detach());
  const core::Safetensors file = core::Safetensors::open(parts.vision / "model.safetensors");
  parts.vision_delta = made / "vision_delta.safetensors";
  nn::write_state_dict(
      *parts.vision_delta,
      vision::published_efficientnet_weights(trained, nn::read_state_dict(file),
                                             vision.tower()->config(), file.source()),
      core::DType::kBF16);
}

fusion::FusionConfig sizes_of_new_layer(const TrainConfig& config, const Encoders& encoders) {
  const vision::EfficientNetConfig& vision = encoders.vision->config();
  fusion::FusionConfig fusion;
  fusion.hidden_size = config.hidden_size;
  fusion.embedding_size = config.embedding_size;
  fusion.num_hidden_layers = config.fusion_layers;
  fusion.num_attention_heads = config.attention_heads;
  fusion.intermediate_size = config.intermediate_size;
  fusion.vision_channels = vision.head_channels;
  fusion.detail_stage = vision.detail_stage;
  fusion.detail_channels = vision::detail_channels(vision);
  fusion.text_hidden_size = encoders.text->config().hidden_size;
  return fusion;
}

fusion::FusionConfig checked(const fusion::FusionConfig& fusion) {
  return fusion::FusionConfig::from_config(core::JsonConfig(fusion.to_json(), "fusion layer"));
}

fusion::FusionConfig new_fusion_layer(const TrainConfig& config, const Encoders& encoders,
                                      const ImageFeatures& images) {
  fusion::FusionConfig fusion = sizes_of_new_layer(config, encoders);
  fusion.grid_height = images.grid_height;
  fusion.grid_width = images.grid_width;
  fusion.match_cosine = true;
  fusion.dropout = config.dropout;
  fusion.pooled_dropout = config.pooled_dropout;
  return checked(fusion);
}

models::BundleParts bundle_of_run(const TrainConfig& config, const fs::path& made,
                                  const fusion::FusionConfig& fusion,
                                  const std::vector<fs::path>& logs) {
  models::BundleParts parts;
  parts.name = bundle_name(config);
  parts.licence = "that-of-the-training-data";
  parts.vision = config.vision;
  if (!config.preprocessor.empty()) parts.preprocessor = config.preprocessor;
  parts.text = config.text;
  parts.fusion = fusion;
  parts.fusion_weights = made / "model.safetensors";
  parts.card = made / "README.md";
  parts.records["training/config.json"] = run_directory(config) / "config.json";
  for (const fs::path& log : logs)
    parts.records["training/" + log.parent_path().filename().string() + ".jsonl"] = log;
  return parts;
}

std::vector<std::string> words_of(const std::string& list) {
  std::vector<std::string> words;
  std::istringstream stream(list);
  for (std::string word; std::getline(stream, word, ',');) {
    const std::size_t first = word.find_first_not_of(' ');
    if (first != std::string::npos)
      words.push_back(word.substr(first, word.find_last_not_of(' ') - first + 1));
  }
  return words;
}

}  // namespace bifocal::training
