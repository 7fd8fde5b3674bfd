#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <unordered_map>
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

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using Phase = ContrastTraining::Phase;

// Of records with an image that decodes and at least one contrast.
ContrastFeatures encode_contrasts(const RecordSet& all, const Encoders& encoders,
                                  const std::vector<std::string>& kinds, std::size_t frozen_stages,
                                  std::int64_t max_tokens, const EncodingOptions& options) {
  std::vector<std::size_t> whole;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].has_image() && !all[i].contrasts.empty()) whole.push_back(i);
  if (whole.empty())
    throw Error(ErrorCode::kInvalidItem,
                "no record has an image and contrasts: \"contrasts\": [{\"kind\", \"true\", "
                "\"false\"}]");
  const RecordSet records = all.subset(whole);
  ContrastFeatures features;
  features.kinds = kinds;
  features.images =
      encode_images(records, encoders.vision, encoders.preprocess, {}, frozen_stages, options);
  std::vector<std::string> texts;
  std::unordered_map<std::string, std::int64_t> rows;
  const auto row_of = [&](const std::string& text) {
    const auto [found, is_new] = rows.try_emplace(text, static_cast<std::int64_t>(texts.size()));
    if (is_new) texts.push_back(text);
    return found->second;
  };
  for (const std::size_t i : features.images.records) {
    features.first.push_back(features.pairs.size());
    for (const Contrast& contrast : records[i].contrasts) {
      const auto kind = std::ranges::lower_bound(kinds, contrast.kind);
      features.pairs.push_back({static_cast<std::size_t>(kind - kinds.begin()), features.ids.size(),
                                row_of(contrast.true_text), row_of(contrast.false_text)});
    }
    features.ids.push_back(records[i].id);
  }
  features.first.push_back(features.pairs.size());
  features.texts = encode_captions(texts, encoders.text, *encoders.tokenizer,
                                   encoders.text->config().num_hidden_layers, max_tokens, options);
  return features;
}

std::vector<std::string> kinds_of(const DataSets& data) {
  std::set<std::string> kinds;
  for (const RecordSet* set : {&data.train, &data.validation})
    for (const Record& record : set->records())
      for (const Contrast& contrast : record.contrasts) kinds.insert(contrast.kind);
  return {kinds.begin(), kinds.end()};
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
  const at::Tensor lengths = features.texts.lengths.slice(0, 0, kMostAlignedTexts);
  const at::Tensor texts = features.texts.hidden.slice(0, 0, kMostAlignedTexts);  // [m, L, H]
  const at::Tensor valid = at::arange(texts.size(1)).unsqueeze(0) < lengths.unsqueeze(1);
  standardise_tokens(
      fusion, vision.forward(features.images, images, at::zeros_like(images)).tokens.flatten(0, 1),
      texts.index({valid}).to(at::kFloat));
}

// The model card, from what was run.
std::string card(const TrainConfig& config, const ContrastFeatures& train,
                 const ContrastFeatures& validation, const Metrics& metrics, double core_hours) {
  std::ostringstream text;
  text << card_head("- image-text-matching\n- feature-extraction\n") << "# " << bundle_name(config)
       << "\n\nA match score that tells which of two texts is true of an image; trained with\n"
          "`bifocal train --preset contrasts`.\n\n"
       << "## What it is made of\n\n- Vision: `" << last_part(config.vision) << "`, "
       << what_of_vision(config) << ".\n- Text: `" << last_part(config.text) << "`, frozen.\n\n"
       << "## Training\n\n| | images | contrasts |\n|---|---|---|\n| trained on `"
       << last_part(config.data) << "` | " << train.size() << " | " << train.pairs.size()
       << " |\n| weights chosen by "
       << (config.validation.empty() ? "a part of it" : "`" + last_part(config.validation) + "`")
       << " | " << validation.size() << " | " << validation.pairs.size() << " |\n\n"
       << "Pooled heads " << config.pooled_epochs << " epochs, token projections "
       << config.align_epochs << ", fusion layer " << config.epochs << ". Seed " << config.seed
       << ". It took " << fixed(core_hours, 2)
       << " core-hours. Every setting is in `training/config.json`, every step in "
          "`training/*.jsonl`.\n\n"
       << "## Quality\n\nOn the validation set, by which the weights were chosen, so a little "
          "flattering; chance is 50:\n\n| kind of contrast | the true text scores higher |\n"
          "|---|---|\n";
  for (const auto& [kind, value] : metrics) text << "| " << kind << " | " << fixed(value) << " |\n";
  text << "\n" << card_licences();
  return text.str();
}

}  // namespace

RunReport run_contrasts(const TrainConfig& config, const RunOptions& options) {
  if (config.seeds > 1)
    throw Error(ErrorCode::kInvalidArgument,
                "seeds is " + std::to_string(config.seeds) +
                    ", but preset contrasts trains one: run it once with each seed");
  const auto say = [&options](const std::string& line) {
    if (options.say) options.say(line);
  };
  const fs::path run = run_directory(config);
  const Encoders encoders = load_encoders(config);
  const DataSets data = open_data_sets(config, /*grouped=*/true);
  const std::vector<std::string> kinds = kinds_of(data);
  const EncodingOptions encoding = begin_encoding(config, options, data);
  const std::size_t frozen = frozen_stages(config, encoders);
  ContrastFeatures train, validation;
  options.group->first_then_others([&] {
    train = encode_contrasts(data.train, encoders, kinds, frozen, config.max_text_tokens, encoding);
    validation = encode_contrasts(data.validation, encoders, kinds, frozen, config.max_text_tokens,
                                  encoding);
  });
  const double encoding_hours = processor_hours();

  const fusion::FusionConfig fusion_sizes = fusion_config(config, encoders, train);
  fusion::FusionTransformer fusion(fusion_sizes);
  const auto seed = static_cast<std::uint64_t>(config.seed);
  fusion::initialise(*fusion, seed);
  begin_with_bundle(config, *fusion);
  const UpperStages vision = upper_stages(config, encoders);
  if (config.align_epochs > 0) {
    align_tokens(*fusion, vision, train);
    open_late_interaction(*fusion);
    place_positions(*fusion, seed);
    align_attention(*fusion, seed);
  }

  ContrastTraining::Options stage;
  stage.weight_decay = config.weight_decay;
  stage.vision_learning_rate = config.backbone_learning_rate;
  stage.vision_layer_decay = config.layer_decay;
  stage.ranking_weight = config.ranking_weight;
  stage.pairs_per_image = static_cast<std::size_t>(config.pairs_per_image);
  stage.gains_learning_rate = config.gains_learning_rate;
  stage.curriculum = words_of(config.curriculum);

  RunReport report;
  const auto phase = [&](Phase which, const std::string& name, const std::string& directory,
                         LoopSettings settings) {
    settings.metric = "all";
    // A kind that joins raises the loss, which so far was that of what is known already.
    if (!stage.curriculum.empty()) settings.divergence_factor = 0;
    stage.phase = which;
    stage.curriculum_epochs = which == Phase::kPooledHeads
                                  ? 0
                                  : config.curriculum_share * static_cast<double>(settings.epochs);
    ContrastTraining training(fusion, vision, train, validation, stage);
    const TrainingResult result = training::train(
        training, settings,
        {run / directory, options.resume, options.observers, options.interrupted, options.group});
    report.logs.push_back(run / directory / "metrics.jsonl");
    report.core_hours += result.core_seconds / 3600;
    report.interrupted = result.ended == TrainingResult::Ended::kInterrupted;
    report.metrics = result.metrics;
    if (!report.interrupted)
      say(name + ": " + fixed(result.metrics.at("all")) + " of 100 contrasts of validation");
    return !report.interrupted;
  };

  if (config.pooled_epochs > 0) {
    LoopSettings settings = loop_settings(config, "pooled heads");
    use_pooled_settings(settings, config);
    stage.heads_learning_rate = config.pooled_learning_rate;
    if (!phase(Phase::kPooledHeads, "pooled heads alone", "pooled-heads", settings)) return report;
  }
  if (config.align_epochs > 0) {
    LoopSettings settings = loop_settings(config, "token projections");
    settings.epochs = config.align_epochs;
    stage.learning_rate = config.align_learning_rate;
    if (!phase(Phase::kTokenProjections, "token projections, by late interaction",
               "token-projections", settings))
      return report;
  }
  stage.learning_rate = config.learning_rate;
  stage.heads_learning_rate = config.heads_learning_rate;
  if (!phase(Phase::kFusion, "fusion layer", "fusion", loop_settings(config, "fusion")))
    return report;
  report.core_hours += encoding_hours;
  if (!options.group->is_first()) return report;

  const fs::path made = run / "result";
  fs::create_directories(made);
  nn::write_state_dict(made / "model.safetensors", nn::state_dict_of(*fusion), core::DType::kBF16);
  core::write_file_atomically(made / "README.md",
                              card(config, train, validation, report.metrics, report.core_hours));
  models::BundleParts parts = bundle_of_run(config, made, fusion_sizes, report.logs);
  add_vision_delta(parts, vision, made);
  models::write_bundle(parts, config.out, options.replace);
  return report;
}

}  // namespace bifocal::training
