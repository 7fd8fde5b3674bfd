#include <c10/core/GradMode.h>

#include <chrono>
#include <numeric>
#include <optional>
#include <sstream>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "models/bundle.h"
#include "nn/weights.h"
#include "text/bert_checkpoint.h"
#include "training/model_card.h"
#include "training/preset_run.h"
#include "training/retrieval.h"
#include "training/seeds.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

// Records with an image that decodes and at least one text, what the teachers make of them, and
// their contrasts where they are asked for.
PairFeatures encode_pairs(const RecordSet& all, const Encoders& encoders, const ImageViews& views,
                          std::size_t frozen_stages, std::int64_t frozen_layers,
                          std::int64_t max_tokens, const std::vector<Teacher>& teachers,
                          bool with_contrasts, const EncodingOptions& options) {
  std::vector<std::size_t> whole;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all[i].has_image() && !all[i].texts.empty()) whole.push_back(i);
  const RecordSet records = all.subset(whole);
  PairFeatures pairs;
  pairs.images =
      encode_images(records, encoders.vision, encoders.preprocess, views, frozen_stages, options);
  std::vector<std::string> texts;
  for (const std::size_t i : pairs.images.records) {
    pairs.first.push_back(texts.size());
    texts.insert(texts.end(), records[i].texts.begin(), records[i].texts.end());
    pairs.ids.push_back(records[i].id);
  }
  pairs.first.push_back(texts.size());
  pairs.captions = encode_captions(texts, encoders.text, *encoders.tokenizer, frozen_layers,
                                   max_tokens, options);
  const RecordSet seen = records.subset(pairs.images.records);
  pairs.teacher = teacher_vectors(teachers, seen, texts, options);
  if (with_contrasts) {
    const std::vector<std::string> kinds = kinds_of_contrasts({&seen});
    if (kinds.empty())
      throw Error(
          ErrorCode::kInvalidItem,
          "contrast_weight is above 0 and no record has contrasts: `bifocal contrasts` makes "
          "them, in a copy of the table");
    pairs.contrasts = encode_contrasts(seen, kinds, encoders.text, *encoders.tokenizer,
                                       frozen_layers, max_tokens, /*with_partners=*/true, options);
  }
  return pairs;
}

std::vector<Teacher> load_teachers(const std::string& list) {
  std::vector<Teacher> teachers;
  for (const std::string& bundle : words_of(list)) teachers.push_back(load_teacher(bundle));
  return teachers;
}

// How a card says who taught; nothing without a teacher.
std::string taught_by(const std::string& list) {
  std::string names;
  for (const std::string& bundle : words_of(list))
    names += (names.empty() ? "Learned from `" : "`, `") + last_part(bundle);
  return names.empty() ? "" : names + "` too. ";
}

// How the layers that were tuned travel: under the encoder's own names, bfloat16.
void write_text_delta(const fs::path& path, const fs::path& encoder, const UpperLayers& layers) {
  std::vector<std::string> published;
  const core::Safetensors weights = core::Safetensors::open(encoder / "model.safetensors");
  for (const auto& [name, view] : weights.tensors()) published.push_back(name);
  nn::write_state_dict(path, text::published_bert_weights(nn::state_dict_of(*layers), published),
                       core::DType::kBF16);
}

// What all seeds share.
struct RetrievalData {
  const TrainConfig& config;
  const RunOptions& options;
  fs::path run;
  PairFeatures train, validation;
  std::size_t skipped = 0;
  fusion::FusionConfig fusion;

  void say(const std::string& line) const {
    if (options.say) options.say(line);
  }
};

struct RetrievalSeed : SeedLog {
  RetrievalModel model;
};

// The model card, from what was run.
std::string card(const RetrievalData& data, const SeedOutcome& seeds, std::int64_t kept,
                 const RunReport& report) {
  const TrainConfig& config = data.config;
  const PairFeatures &train = data.train, &validation = data.validation;
  const auto value = [&report](const char* name) {
    const auto found = report.metrics.find(name);
    return found == report.metrics.end() ? std::string("-") : fixed(found->second);
  };
  std::ostringstream text;
  text << card_head("- image-text-retrieval\n- feature-extraction\n") << "# " << bundle_name(config)
       << "\n\n"
       << "Vectors for images, texts and both together, in one space, and a match score; trained "
          "with\n`bifocal train --preset retrieval`.\n\n"
       << "## What it is made of\n\n"
       << "- Vision: `" << last_part(config.vision) << "`, " << what_of_vision(config) << ".\n"
       << "- Text: `" << last_part(config.text) << "`; its top " << config.text_layers
       << " layers were trained along.\n"
       << "- Fusion: " << data.fusion.num_hidden_layers << " encoder layers of size "
       << data.fusion.hidden_size << ", vectors of " << data.fusion.embedding_size
       << " numbers.\n\n"
       << "## Training\n\n"
       << "| | images | captions |\n|---|---|---|\n"
       << "| trained on `" << last_part(config.data) << "` | " << train.size() << " | "
       << train.first.back() << " |\n"
       << "| weights chosen by "
       << (config.validation.empty() ? "a part of it" : "`" + last_part(config.validation) + "`")
       << " | " << validation.size() << " | " << validation.first.back() << " |\n\n"
       << data.skipped << " records were skipped. Stage 1: pooled heads on frozen features, "
       << config.pooled_epochs << " epochs. Stage 2: fusion layer, heads and text layers, "
       << config.epochs << " epochs of batches of " << config.batch_size << ". "
       << taught_by(config.teacher) << "Seed " << kept << ". It took "
       << fixed(report.core_hours, 2)
       << " core-hours. Every setting is in `training/config.json`, every step in "
          "`training/*.jsonl`.\n\n"
       << (seeds.values.size() > 1 ? seeds.for_card() : "") << "## Quality\n\n"
       << "On the validation set, by which the weights were chosen, so a little flattering:\n\n"
       << "| recall at 1 / 5 / 10 | image to text | text to image | sum |\n|---|---|---|---|\n"
       << "| | " << value("image_to_text_r1") << " / " << value("image_to_text_r5") << " / "
       << value("image_to_text_r10") << " | " << value("text_to_image_r1") << " / "
       << value("text_to_image_r5") << " / " << value("text_to_image_r10") << " | " << value("rsum")
       << " |\n\n"
       << "| task | this model | a simple rule on the same vectors |\n|---|---|---|\n"
       << "| the other captions of an image, asked with image and caption together, R@1 | "
       << value("fused_r1") << " | " << value("mean_r1") << " (mean of the two vectors) |\n"
       << "| a true caption or that of another image, accuracy | " << value("match_accuracy")
       << " | " << value("cosine_accuracy") << " (best threshold on the cosine) |\n\n"
       << card_licences();
  return text.str();
}

LoopSettings phase_settings(const TrainConfig& config, const std::string& phase,
                            std::int64_t seed) {
  LoopSettings settings = settings_of_seed(config, phase, seed);
  settings.metric = "rsum";
  return settings;
}

// Of the text encoder, from the bottom.
std::int64_t frozen_layers(const TrainConfig& config, const Encoders& encoders) {
  return std::max<std::int64_t>(encoders.text->config().num_hidden_layers - config.text_layers, 0);
}

FusionRetrieval::Options fusion_options(const TrainConfig& config, const TeacherWeights& taught) {
  FusionRetrieval::Options stage;
  stage.learning_rate = config.learning_rate;
  stage.heads_learning_rate = config.heads_learning_rate;
  stage.gains_learning_rate = config.gains_learning_rate;
  stage.text_learning_rate = config.text_learning_rate;
  stage.text_layer_decay = config.text_layer_decay;
  stage.vision_learning_rate = config.backbone_learning_rate;
  stage.vision_layer_decay = config.layer_decay;
  stage.weight_decay = config.weight_decay;
  stage.visual_tokens = config.visual_tokens;
  stage.match_pairs = config.match_pairs;
  stage.pairs_per_image = static_cast<std::size_t>(config.pairs_per_image);
  stage.weights = {config.caption_weight,
                   config.fused_weight,
                   config.match_weight,
                   config.ranking_weight,
                   config.late_weight,
                   config.contrast_weight,
                   taught};
  return stage;
}

// Both stages from one seed; `encoders` are its own, for their upper layers are trained where they
// stand.
RetrievalSeed run_seed(const RetrievalData& data, const Encoders& encoders, std::int64_t number) {
  const TrainConfig& config = data.config;
  RetrievalSeed seed;
  RetrievalModel& model = seed.model;
  model.fusion = fusion::FusionTransformer(data.fusion);
  model.text = UpperLayers(encoders.text, frozen_layers(config, encoders));
  model.pooling = encoders.text->config().pooling;
  model.vision = upper_stages(config, encoders);
  fusion::initialise(*model.fusion, static_cast<std::uint64_t>(number));

  const TeacherWeights taught{config.teacher_weight, config.teacher_temperature};
  if (config.pooled_epochs > 0) {
    LoopSettings settings = phase_settings(config, "pooled heads", number);
    use_pooled_settings(settings, config);
    PooledHeads heads(
        model, data.train, data.validation,
        {config.pooled_learning_rate, config.pooled_weight_decay,
         static_cast<std::size_t>(config.pairs_per_image), config.contrast_weight, taught});
    const Metrics metrics = run_phase(data.run, data.options, settings, heads, seed);
    if (seed.interrupted) return seed;
    data.say("pooled heads alone: rsum " + fixed(metrics.at("rsum")));
  }
  FusionRetrieval retrieval(model, data.train, data.validation, fusion_options(config, taught));
  retrieval.begin_match_with_cosine();
  if (config.late_weight > 0) retrieval.begin_late_interaction();
  seed.metrics =
      run_phase(data.run, data.options, phase_settings(config, "fusion", number), retrieval, seed);
  if (seed.interrupted) return seed;
  if (data.options.group->is_first()) {
    if (config.match_weight > 0) retrieval.calibrate_match();
    if (config.fused_weight > 0) retrieval.calibrate_fused();
    if (config.match_weight > 0 || config.fused_weight > 0) seed.metrics = retrieval.evaluate();
  }
  seed.value = seed.metrics.at("rsum");
  return seed;
}

// The bundle of the best seed.
void write_retrieval_bundle(const RetrievalData& data, const RetrievalModel& model,
                            const std::string& card, const std::vector<fs::path>& logs) {
  const fs::path made = data.run / "result";
  fs::create_directories(made);
  nlohmann::json fusion_json = data.fusion.to_json();
  fusion_json.erase("label_sets");
  core::write_file_atomically(made / "config.json", fusion_json.dump(2) + "\n");
  nn::write_state_dict(made / "model.safetensors", nn::state_dict_of(*model.fusion),
                       core::DType::kBF16);
  const bool tuned_text = data.config.text_layers > 0;
  if (tuned_text) write_text_delta(made / "text_delta.safetensors", data.config.text, model.text);
  core::write_file_atomically(made / "README.md", card);
  models::BundleParts parts = bundle_of_run(data.config, made, data.fusion, logs);
  if (tuned_text) parts.text_delta = made / "text_delta.safetensors";
  add_vision_delta(parts, model.vision, made);
  models::write_bundle(parts, data.config.out, data.options.replace);
}

}  // namespace

RunReport run_retrieval(const TrainConfig& config, const RunOptions& options) {
  RetrievalData data{config, options, run_directory(config), {}, {}, 0, {}};
  std::optional<Encoders> encoders = load_encoders(config);
  const std::size_t stages = frozen_stages(config, *encoders);
  const std::int64_t layers = frozen_layers(config, *encoders);
  {
    const std::vector<Teacher> teachers = load_teachers(config.teacher);
    const DataSets sets = open_data_sets(config, /*grouped=*/true);
    const EncodingOptions encoding = begin_encoding(config, options, sets);
    options.group->first_then_others([&] {
      data.train =
          encode_pairs(sets.train, *encoders, training_views(config), stages, layers,
                       config.max_text_tokens, teachers, config.contrast_weight > 0, encoding);
      data.validation = encode_pairs(sets.validation, *encoders, {}, stages, layers,
                                     encoders->text->config().max_tokens, {}, false, encoding);
    });
    data.skipped = data.train.images.skipped.size() + sets.train.skipped().size();
  }
  data.fusion = new_fusion_layer(config, *encoders, data.train.images);
  data.fusion.match_late_interaction = config.late_weight > 0;

  RunReport report;
  report.core_hours = processor_hours();
  SeedOutcome outcome{"rsum", {}};
  const auto best = best_of_seeds(
      config, options,
      [&](std::int64_t number) {
        if (!encoders) encoders = load_encoders(config);
        RetrievalSeed seed = run_seed(data, *encoders, number);
        encoders.reset();
        return seed;
      },
      outcome, report);
  if (!best || !options.group->is_first()) return report;
  const auto& [seed, number] = *best;
  write_retrieval_bundle(data, seed.model, card(data, outcome, number, report), report.logs);
  return report;
}

}  // namespace bifocal::training
