#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "nn/weights.h"

namespace bifocal::training {

// All that a run needs to go on as if it had never stopped. Random numbers are functions of seed
// and step, the sampler's position and the schedule of the step: these need no more than `step`.
struct Checkpoint {
  std::int64_t step = 0;    // optimiser steps taken
  nn::StateDict weights;    // Trainable::state()
  nn::StateDict optimizer;  // AdamW::state()
  nn::StateDict average;    // empty without a moving average
  nn::StateDict best;       // empty before the first evaluation
  nlohmann::json progress;  // the loop's own counters and best metric
  nlohmann::json settings;  // what the run was started with
};

// Saves into `directory`/step-00000123: safetensors and checkpoint.json, written beside it, synced
// and renamed, so that one that exists is whole, whatever ends the process. Only then are older
// ones removed, but for the one before. Throws Error(kIo), where the disk is full too; what was
// saved before stays.
void save_checkpoint(const std::filesystem::path& directory, const Checkpoint& checkpoint);

// The newest whole one; none where there is none. Throws Error where it cannot be read.
std::optional<Checkpoint> load_newest_checkpoint(const std::filesystem::path& directory);

}  // namespace bifocal::training
