#pragma once

#include <filesystem>
#include <vector>

#include "fusion/fusion_config.h"
#include "models/bundle.h"
#include "training/data_sets.h"
#include "training/encoders.h"
#include "training/feature_cache.h"
#include "training/run.h"

namespace bifocal::training {

// What the runs of all presets have in common.

// How `data` is to be encoded by the frozen towers; says that it is.
EncodingOptions begin_encoding(const TrainConfig& config, const RunOptions& options,
                               const DataSets& data);

// The stage on frozen features takes the `pooled_...` settings, and float32: it is small.
void use_pooled_settings(LoopSettings& settings, const TrainConfig& config);

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
