#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::training {

// What a run of `bifocal train` is told: values for the keys of train_config_keys(), which says of
// each what it means and takes. To add a key: a field here and its line in train_config_keys.cpp;
// flag, file, schema, documentation and the saved config follow.
struct TrainConfig {
  std::string preset;

  std::string data, validation, images;
  double validation_share = 0.1;
  std::string from_bundle, vision, text, preprocessor;
  std::string out, name, run, cache;

  std::int64_t seed = 1;
  std::int64_t threads = 0;
  std::string device = "cpu", bf16 = "auto";

  std::int64_t epochs = 10;
  std::int64_t batch_size = 32;
  std::int64_t accumulation = 1;
  double learning_rate = 1e-3;
  double weight_decay = 1e-4;
  double beta1 = 0.9, beta2 = 0.999;
  double warm_up = 0.1, final_rate = 0.0;
  double clip_norm = 1.0;
  double average_decay = 0.0;
  double dropout = 0.1;
  std::int64_t evaluate_every = 1, patience = 0;
  std::int64_t checkpoint_every = 50, log_every = 10;
  double divergence_factor = 5.0;

  std::int64_t pooled_epochs = 30, pooled_batch_size = 512;
  double pooled_learning_rate = 1e-3, pooled_weight_decay = 0.1, pooled_average_decay = 0.99;
  double pooled_dropout = 0.3;
  double heads_learning_rate = 3e-4, gains_learning_rate = 1e-2;
  std::int64_t text_layers = 3, vision_stages = 0;
  double text_learning_rate = 1e-4, text_layer_decay = 0.8;
  std::int64_t max_text_tokens = 24, visual_tokens = 25;
  double caption_weight = 0.2, fused_weight = 0.5, match_weight = 1.0, ranking_weight = 0.5,
         late_weight = 0.0, contrast_weight = 0.0;
  std::int64_t match_pairs = 256;
  std::string teacher;
  double teacher_weight = 2.0, teacher_temperature = 3.0;
  std::int64_t hidden_size = 256, embedding_size = 512, fusion_layers = 2, attention_heads = 8,
               intermediate_size = 512, detail_stage = 0;

  std::string label_set = "classes", class_weights = "none", metric;
  std::int64_t head_hidden_size = 0, seeds = 1;
  double label_smoothing = 0.0, modality_dropout = 0.0, token_dropout = 0.0;
  bool through_fusion = false;

  double backbone_learning_rate = 1e-4, layer_decay = 0.8;
  std::int64_t frozen_stages = 0;
  std::string batch_norm = "frozen";
  double drop_connect = 0.2;
  double mixup = 0.0, cutmix = 0.0;

  double crop_min_area = 1.0, horizontal_flip = 0.0, rotation = 0.0, color_jitter = 0.0, hue = 0.0;
  std::int64_t augmented_views = 0, rand_augment_ops = 0;
  double rand_augment_magnitude = 9.0, random_erasing = 0.0;

  std::int64_t align_epochs = 0, pairs_per_image = 2;
  double align_learning_rate = 2e-3;
  std::string curriculum;
  double curriculum_share = 0.5;
  bool double_difference = false;

  bool operator==(const TrainConfig&) const = default;
};

// One key, as the table has it.
struct TrainConfigKey {
  std::string name;   // "batch_size" in a file, --batch-size as a flag
  std::string group;  // "Optimiser"
  std::string meaning;
  nlohmann::json schema;  // what it takes, in JSON Schema's words: type, minimum, enum
  // Throws Error(kInvalidArgument) saying what is allowed.
  std::function<void(TrainConfig&, const nlohmann::json&)> set;
  std::function<nlohmann::json(const TrainConfig&)> get;

  std::string flag() const;   // "batch-size"
  std::string takes() const;  // "1 to 65536"
  // A flag's words as the value that a file would have.
  nlohmann::json parse(const std::vector<std::string>& words) const;
};
std::span<const TrainConfigKey> train_config_keys();

struct TrainPreset {
  std::string_view name;
  std::string_view meaning;
  nlohmann::json values;  // of the keys that it sets
};
std::span<const TrainPreset> train_presets();

// The config that a run goes by: defaults, then those of the preset, then those of `file` (JSON;
// empty: none), then `flags`, by key. The preset is the flags', else the file's. Throws Error:
// kInvalidArgument naming the source and the key (an unknown one with the nearest that there is),
// kNotFound.
TrainConfig read_train_config(const std::string& file,
                              const std::map<std::string, nlohmann::json>& flags);

nlohmann::json to_json(const TrainConfig& config);  // every key: a file that gives `config` again
nlohmann::json train_config_schema();               // JSON Schema 2020-12 of such a file
std::string train_config_markdown();                // the table of docs/training.md

}  // namespace bifocal::training
