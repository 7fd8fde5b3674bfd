// The presets of classes: "classify" and "finetune-image".
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "models/bundle.h"
#include "nn/weights.h"
#include "training/class_card.h"
#include "training/class_report.h"
#include "training/class_training.h"
#include "training/image_tuning.h"
#include "training/model_card.h"
#include "training/preset_run.h"
#include "training/weight_average.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

// What all seeds share.
struct ClassRun {
  const TrainConfig& config;
  const RunOptions& options;
  fs::path directory;
  Encoders encoders;
  ClassExamples train, validation;
  fusion::FusionConfig fusion;
  std::size_t label_set = 0;
  std::string metric;

  const fusion::LabelSet& labels() const { return fusion.label_sets[label_set]; }
  bool tunes_images() const { return config.preset == "finetune-image"; }
  void say(const std::string& line) const {
    if (options.say) options.say(line);
  }
};

// One seed's model, and what it came to.
struct SeedResult : SeedLog {
  ClassModel model;
  vision::EfficientNet vision{nullptr};  // where it was thawed, and kept
  std::vector<ClassSide> sides;          // of the validation set
  double frozen_value = 0;
  bool second_stage = false, kept_second_stage = false;
};

bool has_both_sides(const ClassExamples& examples) {
  for (std::size_t i = 0; i < examples.size(); ++i)
    if (examples.has_image(i) && examples.has_text(i)) return true;
  return false;
}

// The bundle's fusion layer where there is one, with the new label set in place of one of its name.
fusion::FusionConfig fusion_config(const TrainConfig& config, const Encoders& encoders,
                                   const ClassLabels& labels, std::size_t& label_set) {
  fusion::FusionConfig fusion = config.from_bundle.empty()
                                    ? sizes_of_new_layer(config, encoders)
                                    : models::Bundle::open(config.from_bundle).fusion();
  fusion.dropout = config.dropout;
  std::erase_if(fusion.label_sets,
                [&config](const auto& set) { return set.name == config.label_set; });
  label_set = fusion.label_sets.size();
  fusion.label_sets.push_back({config.label_set, labels.names, labels.multi_label,
                               /*pooled=*/true, config.head_hidden_size});
  return checked(fusion);
}

ClassModel new_model(const ClassRun& run, std::uint64_t seed) {
  ClassModel model{fusion::FusionTransformer(run.fusion), run.label_set};
  fusion::initialise(*model.fusion, seed);
  const c10::NoGradGuard no_grad;
  nn::StateDict weights = nn::state_dict_of(*model.fusion);
  weights.at("class_heads." + run.labels().name + ".weight").zero_();
  if (run.config.from_bundle.empty()) return model;
  const models::Bundle bundle = models::Bundle::open(run.config.from_bundle);
  for (const auto& [name, tensor] :
       nn::read_state_dict(core::Safetensors::open(bundle.fusion_weights())))
    if (const auto found = weights.find(name); found != weights.end() && !model.is_head(name))
      found->second.copy_(tensor);
  return model;
}

ClassLoss loss_of(const ClassRun& run) {
  ClassLoss loss{run.labels().multi_label, run.config.label_smoothing, {}};
  if (run.config.class_weights == "balanced")
    loss.weights = balanced_weights(run.train.targets, loss.multi_label);
  return loss;
}

bool is_better(const std::string& metric, double value, double than) {
  return metric.starts_with("loss") ? value < than : value > than;
}

double value_of(const Metrics& metrics, const std::string& metric) {
  const auto found = metrics.find(metric);
  return found == metrics.end() ? 0 : found->second;
}

// The settings of a phase of one seed.
LoopSettings phase_settings(const ClassRun& run, const std::string& phase, std::int64_t seed) {
  LoopSettings settings = settings_of_seed(run.config, phase, seed);
  settings.metric = run.metric;
  settings.smaller_is_better = run.metric.starts_with("loss");
  return settings;
}

// Trains a phase, and notes what it came to. False where it was interrupted.
bool run_phase(const ClassRun& run, Trainable& trainable, const LoopSettings& settings,
               SeedResult& seed) {
  const Metrics metrics =
      training::run_phase(run.directory, run.options, settings, trainable, seed);
  if (seed.interrupted) return false;
  seed.metrics = metrics;
  run.say(settings.phase + ": " + run.metric + " " + fixed(value_of(metrics, run.metric), 2));
  return true;
}

// Whether the second stage's weights are kept; where not, those of before come back.
bool keep_second_stage(const ClassRun& run, SeedResult& seed, const Metrics& before,
                       const nn::StateDict& weights_before) {
  seed.second_stage = true;
  seed.value = value_of(seed.metrics, run.metric);
  seed.kept_second_stage = is_better(run.metric, seed.value, seed.frozen_value);
  if (seed.kept_second_stage) return true;
  run.say("it did not gain: the head on frozen features is kept");
  nn::StateDict live = nn::state_dict_of(*seed.model.fusion);
  copy_weights(weights_before, live);
  seed.metrics = before;
  seed.value = seed.frozen_value;
  return false;
}

SeedResult run_seed(const ClassRun& run, std::int64_t number) {
  const TrainConfig& config = run.config;
  SeedResult seed;
  seed.model = new_model(run, static_cast<std::uint64_t>(number));
  const ClassLoss loss = loss_of(run);

  LoopSettings settings = phase_settings(run, "class head", number);
  use_pooled_settings(settings, config);
  settings.epochs = std::max<std::int64_t>(config.pooled_epochs, 1);
  settings.patience = 0;
  ClassTraining::Options stage;
  stage.learning_rate = config.pooled_learning_rate;
  stage.weight_decay = config.pooled_weight_decay;
  stage.modality_dropout = config.modality_dropout;
  stage.token_dropout = config.token_dropout;
  stage.loss = loss;
  ClassTraining head(seed.model, run.train, run.validation, stage);
  if (!run_phase(run, head, settings, seed)) return seed;
  seed.value = seed.frozen_value = value_of(seed.metrics, run.metric);
  const Metrics before = seed.metrics;
  const nn::StateDict weights_before = copy_of(nn::state_dict_of(*seed.model.fusion));

  if (run.tunes_images()) {
    ImageTuning::Options tuning;
    tuning.learning_rate = config.learning_rate;
    tuning.backbone_learning_rate = config.backbone_learning_rate;
    tuning.layer_decay = config.layer_decay;
    tuning.weight_decay = config.weight_decay;
    tuning.frozen_stages = config.frozen_stages;
    tuning.live_batch_norm = config.batch_norm == "live";
    tuning.modality_dropout = config.modality_dropout;
    tuning.mixing.mixup_alpha = config.mixup;
    tuning.mixing.cutmix_alpha = config.cutmix;
    tuning.augmentation = augmentation_of(config);
    tuning.threads = thread_count(config);
    tuning.loss = loss;
    const vision::EfficientNet vision = thawed_copy(run.encoders.vision, config.drop_connect);
    ImageTuning images(seed.model, vision, run.encoders.preprocess, run.train, run.validation,
                       tuning);
    if (!run_phase(run, images, phase_settings(run, "fine-tuning", number), seed)) return seed;
    if (keep_second_stage(run, seed, before, weights_before)) {
      seed.vision = vision;
      seed.sides = images.validation_sides();
      return seed;
    }
  } else if (config.through_fusion && has_both_sides(run.train)) {
    stage.through_fusion = true;
    stage.learning_rate = config.learning_rate;
    stage.fusion_learning_rate =
        config.from_bundle.empty() ? config.learning_rate : config.backbone_learning_rate;
    stage.weight_decay = config.weight_decay;
    ClassTraining fusion(seed.model, run.train, run.validation, stage);
    if (!run_phase(run, fusion, phase_settings(run, "fusion", number), seed)) return seed;
    if (keep_second_stage(run, seed, before, weights_before)) {
      seed.sides = fusion.validation_sides();
      return seed;
    }
  }
  seed.model.fusion->eval();
  seed.sides = head.validation_sides();
  return seed;
}

// The thawed tower as a directory that load_efficientnet() reads.
void write_vision(const fs::path& directory, const vision::EfficientNet& tower,
                  const vision::Preprocess& preprocess) {
  fs::create_directories(directory);
  core::write_file_atomically(directory / "config.json",
                              vision::to_json(tower->config()).dump(2) + "\n");
  nn::write_state_dict(directory / "model.safetensors", nn::state_dict_of(*tower),
                       core::DType::kF32);
  core::write_file_atomically(directory / "preprocessor_config.json",
                              preprocess.to_json().dump(2) + "\n");
}

void write_class_bundle(const ClassRun& run, const SeedResult& seed, const ClassOutcome& outcome) {
  const TrainConfig& config = run.config;
  const fs::path made = run.directory / "result";
  fs::create_directories(made);
  nn::write_state_dict(made / "model.safetensors", nn::state_dict_of(*seed.model.fusion),
                       core::DType::kF32);
  core::write_file_atomically(made / "README.md",
                              class_card(config, run.labels(), run.train, run.validation, outcome));
  models::BundleParts parts = bundle_of_run(config, made, run.fusion, seed.logs);
  if (seed.vision) {
    write_vision(made / "vision", seed.vision, run.encoders.preprocess);
    parts.vision = made / "vision";
    parts.preprocessor.reset();
  }
  models::write_bundle(parts, config.out, run.options.replace);
}

ClassRun prepare(const TrainConfig& config, const RunOptions& options) {
  ClassRun run{config, options, run_directory(config), load_encoders(config), {}, {}, {}, 0, {}};
  const DataSets data = open_data_sets(config, /*grouped=*/false);
  const ClassLabels labels = class_labels(data.train);
  run.fusion = fusion_config(config, run.encoders, labels, run.label_set);
  const EncodingOptions encoding = begin_encoding(config, options, data);
  options.group->first_then_others([&] {
    run.train = encode_examples(data.train, labels, run.encoders, training_views(config),
                                config.max_text_tokens, encoding);
    run.validation = encode_examples(data.validation, labels, run.encoders, ImageViews{},
                                     run.encoders.text->config().max_tokens, encoding);
  });
  if (run.train.images.pooled.defined()) {
    run.fusion.grid_height =
        config.from_bundle.empty() ? run.train.images.grid_height : run.fusion.grid_height;
    run.fusion.grid_width =
        config.from_bundle.empty() ? run.train.images.grid_width : run.fusion.grid_width;
  } else if (run.tunes_images()) {
    throw Error(ErrorCode::kInvalidItem,
                "finetune-image needs images, and the data has none; classify trains on texts");
  }
  run.metric = config.metric.empty() ? chief_class_metric(labels.multi_label) : config.metric;
  return run;
}

}  // namespace

RunReport run_classes(const TrainConfig& config, const RunOptions& options) {
  const ClassRun run = prepare(config, options);
  RunReport report;
  report.core_hours = processor_hours();
  ClassOutcome outcome;
  outcome.seeds.metric = run.metric;
  auto kept = best_of_seeds(
      config, options, [&run](std::int64_t number) { return run_seed(run, number); }, outcome.seeds,
      report, [&run](double a, double b) { return is_better(run.metric, a, b); });
  if (!kept || !options.group->is_first()) return report;
  SeedResult* const best = &kept->first;
  outcome.seed = kept->second;
  outcome.frozen_value = best->frozen_value;
  outcome.second_stage = best->second_stage;
  outcome.kept_second_stage = best->kept_second_stage;
  outcome.core_hours = report.core_hours;
  outcome.skipped = run.train.skipped.size() + run.validation.skipped.size();

  const Calibration calibration = calibrate(best->model, best->sides);
  outcome.temperature = calibration.temperature;
  outcome.error_before = calibration.error_before;
  outcome.error_after = calibration.error_after;
  outcome.figures = class_section(run.labels(), best->sides, {});
  nlohmann::ordered_json figures = outcome.figures.to_json();
  figures["event"] = "figures";
  report.lines.push_back(std::move(figures));
  report.lines.insert(report.lines.end(), calibration.lines.begin(), calibration.lines.end());
  for (nlohmann::ordered_json& line :
       mistake_lines(run.validation, run.labels(), best->sides.back()))
    report.lines.push_back(std::move(line));
  run.say(outcome.figures.to_text());
  write_class_bundle(run, *best, outcome);
  return report;
}

}  // namespace bifocal::training
