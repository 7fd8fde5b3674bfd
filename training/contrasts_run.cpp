#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "models/bundle.h"
#include "nn/weights.h"
#include "training/aligned_start.h"
#include "training/contrast_training.h"
#include "training/model_card.h"
#include "training/preset_run.h"
#include "training/seeds.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using Phase = ContrastTraining::Phase;

// Of records with an image that decodes and at least one contrast; partners where they are asked
// for.
ContrastFeatures encode_features(const RecordSet& all, const Encoders& encoders,
                                 const std::vector<std::string>& kinds, std::size_t frozen_stages,
                                 std::int64_t max_tokens, bool with_partners,
                                 const EncodingOptions& options) {
  std::vector<std::size_t> whole;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].has_image() && !all[i].contrasts.empty()) whole.push_back(i);
  if (whole.empty())
    throw Error(ErrorCode::kInvalidItem,
                "no record has an image and contrasts: \"contrasts\": [{\"kind\", \"true\", "
                "\"false\"}]");
  const RecordSet records = all.subset(whole);
  ContrastFeatures features;
  features.images =
      encode_images(records, encoders.vision, encoders.preprocess, {}, frozen_stages, options);
  for (const std::size_t i : features.images.records) features.ids.push_back(records[i].id);
  features.contrasts = encode_contrasts(
      records.subset(features.images.records), kinds, encoders.text, *encoders.tokenizer,
      encoders.text->config().num_hidden_layers, max_tokens, with_partners, options);
  return features;
}

fusion::FusionConfig fusion_config(const TrainConfig& config, const Encoders& encoders,
                                   const ContrastFeatures& features) {
  if (!config.from_bundle.empty()) {
    fusion::FusionConfig fusion = models::Bundle::open(config.from_bundle).fusion();
    if (!fusion.skip)
      throw Error(ErrorCode::kUnsupported,
                  config.from_bundle +
                      ": its fusion layer has no skip, which the match head of "
                      "contrasts adds to; name vision and text instead");
    fusion.match_cosine = true;
    fusion.match_late_interaction = true;
    fusion.label_sets.clear();
    fusion.dropout = config.dropout;
    fusion.pooled_dropout = config.pooled_dropout;
    return fusion;
  }
  fusion::FusionConfig fusion = new_fusion_layer(config, encoders, features.images);
  fusion.match_late_interaction = true;
  return fusion;
}

// The bundle's weights where there is one; but the match head, which then adds to the cosine.
void begin_with_bundle(const TrainConfig& config, fusion::FusionTransformerImpl& fusion) {
  if (config.from_bundle.empty()) return;
  const models::Bundle bundle = models::Bundle::open(config.from_bundle);
  const nn::StateDict from = nn::read_state_dict(core::Safetensors::open(bundle.fusion_weights()));
  nn::StateDict into = nn::state_dict_of(fusion);
  const c10::NoGradGuard no_grad;
  for (auto& [name, weight] : into) {
    if (!bundle.fusion().match_cosine && name.starts_with("match_head.")) continue;
    if (const auto found = from.find(name); found != from.end()) weight.copy_(found->second);
  }
}

void align_tokens(fusion::FusionTransformerImpl& fusion, const UpperStages& vision,
                  const ContrastFeatures& features) {
  const c10::NoGradGuard no_grad;
  const at::Tensor images = at::arange(
      std::min(kMostAlignedImages, static_cast<std::int64_t>(features.size())), at::kLong);
  const at::Tensor lengths = features.contrasts.texts.lengths.slice(0, 0, kMostAlignedTexts);
  const at::Tensor texts =
      features.contrasts.texts.hidden.slice(0, 0, kMostAlignedTexts);  // [m, L, H]
  const at::Tensor valid = at::arange(texts.size(1)).unsqueeze(0) < lengths.unsqueeze(1);
  standardise_tokens(
      fusion, vision.forward(features.images, images, at::zeros_like(images)).tokens.flatten(0, 1),
      texts.index({valid}).to(at::kFloat));
}

// What all seeds share.
struct ContrastsData {
  const TrainConfig& config;
  const RunOptions& options;
  fs::path run;
  ContrastFeatures train, validation;
  fusion::FusionConfig fusion;
};

struct ContrastsSeed : SeedLog {
  fusion::FusionTransformer fusion{nullptr};
  UpperStages vision;
};

// The model card, from what was run.
std::string card(const ContrastsData& data, const SeedOutcome& seeds, std::int64_t kept,
                 const RunReport& report) {
  const TrainConfig& config = data.config;
  const ContrastFeatures &train = data.train, &validation = data.validation;
  std::ostringstream text;
  text << card_head("- image-text-matching\n- feature-extraction\n") << "# " << bundle_name(config)
       << "\n\nA match score that tells which of two texts is true of an image; trained with\n"
          "`bifocal train --preset contrasts`.\n\n"
       << "## What it is made of\n\n- Vision: `" << last_part(config.vision) << "`, "
       << what_of_vision(config) << ".\n- Text: `" << last_part(config.text) << "`, frozen.\n\n"
       << "## Training\n\n| | images | contrasts |\n|---|---|---|\n| trained on `"
       << last_part(config.data) << "` | " << train.size() << " | " << train.contrasts.pairs.size()
       << " |\n| weights chosen by "
       << (config.validation.empty() ? "a part of it" : "`" + last_part(config.validation) + "`")
       << " | " << validation.size() << " | " << validation.contrasts.pairs.size() << " |\n\n"
       << "Pooled heads " << config.pooled_epochs << " epochs, token projections "
       << config.align_epochs << ", fusion layer " << config.epochs << ". Seed " << kept
       << ". It took " << fixed(report.core_hours, 2)
       << " core-hours. Every setting is in `training/config.json`, every step in "
          "`training/*.jsonl`.\n\n"
       << (seeds.values.size() > 1 ? seeds.for_card() : "")
       << "## Quality\n\nOn the validation set, by which the weights were chosen, so a little "
          "flattering; chance is 50:\n\n| kind of contrast | the true text scores higher |\n"
          "|---|---|\n";
  for (const auto& [kind, value] : report.metrics)
    text << "| " << kind << " | " << fixed(value) << " |\n";
  text << "\n" << card_licences();
  return text.str();
}

// The layer as it is before it is trained.
fusion::FusionTransformer begun_layer(const ContrastsData& data, const UpperStages& vision,
                                      std::uint64_t seed) {
  fusion::FusionTransformer fusion(data.fusion);
  fusion::initialise(*fusion, seed);
  begin_with_bundle(data.config, *fusion);
  if (data.config.align_epochs > 0) {
    align_tokens(*fusion, vision, data.train);
    open_late_interaction(*fusion);
    place_positions(*fusion, seed);
    align_attention(*fusion, seed);
  }
  return fusion;
}

ContrastTraining::Options stage_options(const TrainConfig& config) {
  ContrastTraining::Options stage;
  stage.learning_rate = config.learning_rate;
  stage.heads_learning_rate = config.heads_learning_rate;
  stage.gains_learning_rate = config.gains_learning_rate;
  stage.weight_decay = config.weight_decay;
  stage.vision_learning_rate = config.backbone_learning_rate;
  stage.vision_layer_decay = config.layer_decay;
  stage.ranking_weight = config.ranking_weight;
  stage.pairs_per_image = static_cast<std::size_t>(config.pairs_per_image);
  stage.double_difference = config.double_difference;
  stage.curriculum = words_of(config.curriculum);
  return stage;
}

// All phases from one seed.
ContrastsSeed run_seed(const ContrastsData& data, const Encoders& encoders, std::int64_t number) {
  const TrainConfig& config = data.config;
  ContrastsSeed seed;
  seed.vision = upper_stages(config, encoders);
  seed.fusion = begun_layer(data, seed.vision, static_cast<std::uint64_t>(number));
  // Whether there is more to do.
  const auto phase = [&](ContrastTraining::Options stage, const std::string& name,
                         LoopSettings settings) {
    settings.metric = "all";
    // A kind that joins raises the loss, which so far was that of what is known already.
    if (!stage.curriculum.empty()) settings.divergence_factor = 0;
    stage.curriculum_epochs = stage.phase == Phase::kPooledHeads
                                  ? 0
                                  : config.curriculum_share * static_cast<double>(settings.epochs);
    ContrastTraining training(seed.fusion, seed.vision, data.train, data.validation, stage);
    seed.metrics = run_phase(data.run, data.options, settings, training, seed);
    if (seed.interrupted) return false;
    seed.value = seed.metrics.at("all");
    if (data.options.say)
      data.options.say(name + ": " + fixed(seed.value) + " of 100 contrasts of validation");
    return true;
  };

  if (config.pooled_epochs > 0) {
    LoopSettings settings = settings_of_seed(config, "pooled heads", number);
    use_pooled_settings(settings, config);
    ContrastTraining::Options stage = stage_options(config);
    stage.phase = Phase::kPooledHeads;
    stage.heads_learning_rate = config.pooled_learning_rate;
    if (!phase(stage, "pooled heads alone", settings)) return seed;
  }
  if (config.align_epochs > 0) {
    LoopSettings settings = settings_of_seed(config, "token projections", number);
    settings.epochs = config.align_epochs;
    ContrastTraining::Options stage = stage_options(config);
    stage.phase = Phase::kTokenProjections;
    stage.learning_rate = config.align_learning_rate;
    if (!phase(stage, "token projections, by late interaction", settings)) return seed;
  }
  ContrastTraining::Options stage = stage_options(config);
  stage.phase = Phase::kFusion;
  if (phase(stage, "fusion layer", settings_of_seed(config, "fusion", number)) &&
      config.double_difference)
    ContrastTraining(seed.fusion, seed.vision, data.train, data.validation, stage).calibrate();
  return seed;
}

}  // namespace

RunReport run_contrasts(const TrainConfig& config, const RunOptions& options) {
  ContrastsData data{config, options, run_directory(config), {}, {}, {}};
  const Encoders encoders = load_encoders(config);
  const std::size_t frozen = frozen_stages(config, encoders);
  {
    const DataSets sets = open_data_sets(config, /*grouped=*/true);
    const std::vector<std::string> kinds = kinds_of_contrasts({&sets.train, &sets.validation});
    const EncodingOptions encoding = begin_encoding(config, options, sets);
    options.group->first_then_others([&] {
      data.train = encode_features(sets.train, encoders, kinds, frozen, config.max_text_tokens,
                                   config.double_difference, encoding);
      data.validation = encode_features(sets.validation, encoders, kinds, frozen,
                                        config.max_text_tokens, /*with_partners=*/false, encoding);
    });
  }
  data.fusion = fusion_config(config, encoders, data.train);

  RunReport report;
  report.core_hours = processor_hours();
  SeedOutcome outcome{"all", {}};
  const auto best = best_of_seeds(
      config, options, [&](std::int64_t number) { return run_seed(data, encoders, number); },
      outcome, report);
  if (!best || !options.group->is_first()) return report;
  const auto& [seed, number] = *best;
  const fs::path made = data.run / "result";
  fs::create_directories(made);
  nn::write_state_dict(made / "model.safetensors", nn::state_dict_of(*seed.fusion),
                       core::DType::kBF16);
  core::write_file_atomically(made / "README.md", card(data, outcome, number, report));
  models::BundleParts parts = bundle_of_run(config, made, data.fusion, report.logs);
  add_vision_delta(parts, seed.vision, made);
  models::write_bundle(parts, config.out, options.replace);
  return report;
}

}  // namespace bifocal::training
