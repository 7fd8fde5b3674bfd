#include "training/preset_run.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "core/json_config.h"
#include "training/model_card.h"

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

fusion::FusionConfig new_fusion_layer(const TrainConfig& config, const Encoders& encoders,
                                      const ImageFeatures& images) {
  nlohmann::json json = {{"hidden_size", config.hidden_size},
                         {"embedding_size", config.embedding_size},
                         {"num_hidden_layers", config.fusion_layers},
                         {"num_attention_heads", config.attention_heads},
                         {"intermediate_size", config.intermediate_size},
                         {"vision_channels", encoders.vision->config().head_channels},
                         {"text_hidden_size", encoders.text->config().hidden_size},
                         {"grid_height", images.grid_height},
                         {"grid_width", images.grid_width},
                         {"norm", "pre"},
                         {"skip", true},
                         {"match_cosine", true},
                         {"dropout", config.dropout},
                         {"pooled_dropout", config.pooled_dropout}};
  return fusion::FusionConfig::from_config(core::JsonConfig(std::move(json), "fusion layer"));
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

}  // namespace bifocal::training
