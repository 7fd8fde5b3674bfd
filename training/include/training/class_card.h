#pragma once

#include <cstdint>
#include <string>

#include "fusion/fusion_config.h"
#include "training/class_examples.h"
#include "training/evaluation/section.h"
#include "training/seeds.h"
#include "training/train_config.h"

namespace bifocal::training {

// What a run of classes came to, for its card and its report.
struct ClassOutcome {
  SeedOutcome seeds;          // what decided, of each seed's best weights
  std::int64_t seed = 0;      // whose weights were kept
  double frozen_value = 0;    // of its head on frozen features
  bool second_stage = false;  // there was one: fine-tuning, or training the fusion layer
  bool kept_second_stage = false;
  double temperature = 1;
  double error_before = 0, error_after = 0;  // of calibration, percent; one label a record
  Section figures;                           // of the validation set, by side
  double core_hours = 0;
  std::size_t skipped = 0;
};

// README.md of the bundle.
std::string class_card(const TrainConfig& config, const fusion::LabelSet& labels,
                       const ClassExamples& train, const ClassExamples& validation,
                       const ClassOutcome& outcome);

}  // namespace bifocal::training
