#include "training/train_config.h"

namespace bifocal::training {

std::span<const TrainPreset> train_presets() {
  static const std::vector<TrainPreset> presets = {
      {"retrieval",
       "Image-text pairs: vectors that find one another, and a match score",
       {{"epochs", 8},
        {"batch_size", 384},
        {"learning_rate", 1e-3},
        {"weight_decay", 0.1},
        {"beta2", 0.98},
        {"clip_norm", 2.0},
        {"average_decay", 0.98}}},
      {"classify",
       "Classes of images, texts or both, on frozen encoders",
       {{"epochs", 8},
        {"batch_size", 64},
        {"learning_rate", 3e-4},
        {"weight_decay", 0.05},
        {"average_decay", 0.98},
        {"dropout", 0.2},
        {"pooled_epochs", 60},
        {"pooled_batch_size", 64},
        {"max_text_tokens", 128},
        {"label_smoothing", 0.05},
        {"modality_dropout", 0.3},
        {"token_dropout", 0.1},
        {"horizontal_flip", 0.5}}},
      {"finetune-image",
       "Classes of images: a new head, then the vision encoder with it",
       {{"epochs", 10},
        {"batch_size", 16},
        {"learning_rate", 1e-3},
        {"weight_decay", 1e-4},
        {"average_decay", 0.98},
        {"dropout", 0.2},
        {"patience", 5},
        {"pooled_epochs", 60},
        {"pooled_batch_size", 64},
        {"max_text_tokens", 128},
        {"label_smoothing", 0.1},
        {"modality_dropout", 0.3},
        {"crop_min_area", 0.4},
        {"horizontal_flip", 0.5},
        {"color_jitter", 0.2}}},
  };
  return presets;
}

}  // namespace bifocal::training
