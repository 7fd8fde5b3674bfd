#include <c10/core/GradMode.h>

#include <chrono>
#include <numeric>
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

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

// Records with an image that decodes and at least one text, and what the teachers make of them.
PairFeatures encode_pairs(const RecordSet& all, const Encoders& encoders, const ImageViews& views,
                          std::size_t frozen_stages, std::int64_t frozen_layers,
                          std::int64_t max_tokens, const std::vector<Teacher>& teachers,
                          const EncodingOptions& options) {
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
  pairs.teacher = teacher_vectors(teachers, records.subset(pairs.images.records), texts, options);
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

// The model card, from what was run.
std::string card(const TrainConfig& config, const fusion::FusionConfig& fusion,
                 const PairFeatures& train, const PairFeatures& validation, std::size_t skipped,
                 const Metrics& metrics, double core_hours) {
  const auto value = [&metrics](const char* name) {
    const auto found = metrics.find(name);
    return found == metrics.end() ? std::string("-") : fixed(found->second);
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
       << "- Fusion: " << fusion.num_hidden_layers << " encoder layers of size "
       << fusion.hidden_size << ", vectors of " << fusion.embedding_size << " numbers.\n\n"
       << "## Training\n\n"
       << "| | images | captions |\n|---|---|---|\n"
       << "| trained on `" << last_part(config.data) << "` | " << train.size() << " | "
       << train.first.back() << " |\n"
       << "| weights chosen by "
       << (config.validation.empty() ? "a part of it" : "`" + last_part(config.validation) + "`")
       << " | " << validation.size() << " | " << validation.first.back() << " |\n\n"
       << skipped << " records were skipped. Stage 1: pooled heads on frozen features, "
       << config.pooled_epochs << " epochs. Stage 2: fusion layer, heads and text layers, "
       << config.epochs << " epochs of batches of " << config.batch_size << ". "
       << taught_by(config.teacher) << "Seed " << config.seed << ". It took "
       << fixed(core_hours, 2)
       << " core-hours. Every setting is in `training/config.json`, every step in "
          "`training/*.jsonl`.\n\n"
       << "## Quality\n\n"
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

// How the layers that were tuned travel: under the encoder's own names, bfloat16.
void write_text_delta(const fs::path& path, const fs::path& encoder, const UpperLayers& layers) {
  std::vector<std::string> published;
  const core::Safetensors weights = core::Safetensors::open(encoder / "model.safetensors");
  for (const auto& [name, view] : weights.tensors()) published.push_back(name);
  nn::write_state_dict(path, text::published_bert_weights(nn::state_dict_of(*layers), published),
                       core::DType::kBF16);
}

}  // namespace

RunReport run_retrieval(const TrainConfig& config, const RunOptions& options) {
  const auto say = [&options](const std::string& line) {
    if (options.say) options.say(line);
  };
  const fs::path run = run_directory(config);
  const Encoders encoders = load_encoders(config);
  const std::size_t frozen_stages = training::frozen_stages(config, encoders);
  const std::int64_t all_layers = encoders.text->config().num_hidden_layers;
  const std::int64_t frozen_layers = all_layers - std::min(config.text_layers, all_layers);
  std::vector<Teacher> teachers = load_teachers(config.teacher);
  const DataSets data = open_data_sets(config, /*grouped=*/true);

  const EncodingOptions encoding = begin_encoding(config, options, data);
  PairFeatures train, validation;
  options.group->first_then_others([&] {
    train = encode_pairs(data.train, encoders, training_views(config), frozen_stages, frozen_layers,
                         config.max_text_tokens, teachers, encoding);
    validation = encode_pairs(data.validation, encoders, {}, frozen_stages, frozen_layers,
                              encoders.text->config().max_tokens, {}, encoding);
  });
  teachers.clear();
  const double encoding_hours = processor_hours();

  fusion::FusionConfig fusion = new_fusion_layer(config, encoders, train.images);
  fusion.match_late_interaction = config.late_weight > 0;
  RetrievalModel model{fusion::FusionTransformer(fusion), UpperLayers(encoders.text, frozen_layers),
                       encoders.text->config().pooling, upper_stages(config, encoders)};
  fusion::initialise(*model.fusion, static_cast<std::uint64_t>(config.seed));

  const TeacherWeights taught{config.teacher_weight, config.teacher_temperature};
  RunReport report;
  if (config.pooled_epochs > 0) {
    LoopSettings settings = loop_settings(config, "pooled heads");
    use_pooled_settings(settings, config);
    settings.metric = "rsum";
    PooledHeads heads(model, train, validation, config.pooled_learning_rate,
                      config.pooled_weight_decay, taught);
    const TrainingResult result =
        training::train(heads, settings,
                        {run / "pooled-heads", options.resume, options.observers,
                         options.interrupted, options.group});
    report.logs.push_back(run / "pooled-heads" / "metrics.jsonl");
    report.core_hours += result.core_seconds / 3600;
    report.interrupted = result.ended == TrainingResult::Ended::kInterrupted;
    if (report.interrupted) return report;
    say("pooled heads alone: rsum " + fixed(result.metrics.at("rsum")));
  }

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
  stage.weights = {config.caption_weight, config.fused_weight, config.match_weight,
                   config.ranking_weight, config.late_weight,  taught};
  LoopSettings settings = loop_settings(config, "fusion");
  settings.metric = "rsum";
  FusionRetrieval retrieval(model, train, validation, stage);
  retrieval.begin_match_with_cosine();
  if (config.late_weight > 0) retrieval.begin_late_interaction();
  const TrainingResult result = training::train(
      retrieval, settings,
      {run / "fusion", options.resume, options.observers, options.interrupted, options.group});
  report.logs.push_back(run / "fusion" / "metrics.jsonl");
  report.core_hours += result.core_seconds / 3600 + encoding_hours;
  report.interrupted = result.ended == TrainingResult::Ended::kInterrupted;
  report.metrics = result.metrics;
  if (report.interrupted || !options.group->is_first()) return report;
  if (config.match_weight > 0) retrieval.calibrate_match();
  if (config.fused_weight > 0) retrieval.calibrate_fused();
  if (config.match_weight > 0 || config.fused_weight > 0) report.metrics = retrieval.evaluate();

  const fs::path made = run / "result";
  fs::create_directories(made);
  nlohmann::json fusion_json = fusion.to_json();
  fusion_json.erase("label_sets");
  core::write_file_atomically(made / "config.json", fusion_json.dump(2) + "\n");
  nn::write_state_dict(made / "model.safetensors", nn::state_dict_of(*model.fusion),
                       core::DType::kBF16);
  if (frozen_layers < all_layers)
    write_text_delta(made / "text_delta.safetensors", config.text, model.text);
  core::write_file_atomically(made / "README.md",
                              card(config, fusion, train, validation,
                                   train.images.skipped.size() + data.train.skipped().size(),
                                   report.metrics, report.core_hours));
  models::BundleParts parts = bundle_of_run(config, made, fusion, report.logs);
  if (frozen_layers < all_layers) parts.text_delta = made / "text_delta.safetensors";
  add_vision_delta(parts, model.vision, made);
  models::write_bundle(parts, config.out, options.replace);
  return report;
}

}  // namespace bifocal::training
