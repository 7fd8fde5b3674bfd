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
      {"contrasts",
       "Which of two texts is true of an image: the match head of the fusion layer",
       {{"epochs", 12},
        {"batch_size", 32},
        {"learning_rate", 1e-3},
        {"weight_decay", 0.05},
        {"beta2", 0.98},
        {"average_decay", 0.98},
        {"dropout", 0.0},
        {"pooled_epochs", 10},
        {"pooled_batch_size", 64},
        {"align_epochs", 4}}},
  };
  return presets;
}

}  // namespace bifocal::training
