#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fusion/fusion_config.h"
#include "models/bundle.h"
#include "training/data_sets.h"
#include "training/encoders.h"
#include "training/feature_cache.h"
#include "training/run.h"
#include "training/seeds.h"
#include "training/thawed_vision.h"

namespace bifocal::training {

// What the runs of all presets have in common.

// How `data` is to be encoded by the frozen towers; says that it is.
EncodingOptions begin_encoding(const TrainConfig& config, const RunOptions& options,
                               const DataSets& data);

// The stage on frozen features takes the `pooled_...` settings, and float32: it is small.
void use_pooled_settings(LoopSettings& settings, const TrainConfig& config);

// The settings of a phase of one seed; phases of several seeds tell them apart by name.
LoopSettings settings_of_seed(const TrainConfig& config, const std::string& phase,
                              std::int64_t seed);

// What the phases of one seed cost and leave.
struct SeedLog {
  Metrics metrics;
  double value = 0;  // the one by which seeds are compared
  double core_hours = 0;
  bool interrupted = false;
  std::vector<std::filesystem::path> logs;  // of the phases, in order
};
// Trains a phase, in a directory of its name below `run`, and notes in `log` what it came to.
Metrics run_phase(const std::filesystem::path& run, const RunOptions& options,
                  const LoopSettings& settings, Trainable& trainable, SeedLog& log);

// Runs each seed of `config` by `run_seed`, of its number, whose result is a SeedLog and more. The
// best one with its number, or nothing where one was interrupted; `report` has what all cost and
// left, the metrics of the best, and beside several seeds how far they differ.
template <typename RunSeed, typename Better = std::greater<>>
auto best_of_seeds(const TrainConfig& config, const RunOptions& options, const RunSeed& run_seed,
                   SeedOutcome& outcome, RunReport& report, const Better& better = {})
    -> std::optional<std::pair<decltype(run_seed(config.seed)), std::int64_t>> {
  std::optional<std::pair<decltype(run_seed(config.seed)), std::int64_t>> best;
  for (std::int64_t number = config.seed; number < config.seed + config.seeds; ++number) {
    auto seed = run_seed(number);
    report.core_hours += seed.core_hours;
    report.logs.insert(report.logs.end(), seed.logs.begin(), seed.logs.end());
    report.metrics = seed.metrics;
    report.interrupted = seed.interrupted;
    if (report.interrupted) return std::nullopt;
    outcome.values.push_back(seed.value);
    if (!best || better(seed.value, best->first.value)) best.emplace(std::move(seed), number);
  }
  report.metrics = best->first.metrics;
  if (outcome.values.size() > 1 && options.group->is_first()) {
    if (options.say) options.say(outcome.to_text());
    report.lines.push_back(outcome.to_json());
  }
  return best;
}

// As the settings of augmentation say: drawn anew each time, and the views that frozen features are
// kept of.
Augmentation augmentation_of(const TrainConfig& config);
ImageViews training_views(const TrainConfig& config);

// Of the vision encoder, as `vision_stages` says: how many stages stay as they are, from the
// bottom; those above, with weights of their own to train; and how a card puts it. Throws
// Error(kInvalidArgument) where not one would stay.
std::size_t frozen_stages(const TrainConfig& config, const Encoders& encoders);
UpperStages upper_stages(const TrainConfig& config, const Encoders& encoders);
std::string what_of_vision(const TrainConfig& config);

// What was trained of the vision encoder, under the encoder's own names and in bfloat16, in
// made/vision_delta.safetensors.
void add_vision_delta(models::BundleParts& parts, const UpperStages& vision,
                      const std::filesystem::path& made);

// What `config` and the encoders say of a new fusion layer's size, unchecked.
fusion::FusionConfig sizes_of_new_layer(const TrainConfig& config, const Encoders& encoders);
// `fusion`, checked as one that is read from a bundle. Throws Error(kInvalidBundle).
fusion::FusionConfig checked(const fusion::FusionConfig& fusion);
// What stands between the commas of a setting, without the spaces around it.
std::vector<std::string> words_of(const std::string& list);

// A new fusion layer that embeds and matches, of the sizes that `config` names, for maps such as
// those of `images`. Throws Error(kInvalidBundle) where they do not fit one another.
fusion::FusionConfig new_fusion_layer(const TrainConfig& config, const Encoders& encoders,
                                      const ImageFeatures& images);

// The bundle that a run makes: its encoders, and as records its config and the log of each phase,
// under the name of the phase's directory. Weights and card are those in `made`.
models::BundleParts bundle_of_run(const TrainConfig& config, const std::filesystem::path& made,
                                  const fusion::FusionConfig& fusion,
                                  const std::vector<std::filesystem::path>& logs);

}  // namespace bifocal::training
