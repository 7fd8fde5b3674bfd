#include "training/class_card.h"

#include <algorithm>
#include <sstream>

#include "training/model_card.h"

namespace bifocal::training {
namespace {

struct Counts {
  std::size_t images = 0, texts = 0, both = 0;
};
Counts count(const ClassExamples& examples) {
  Counts counts;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    counts.images += examples.has_image(i) ? 1 : 0;
    counts.texts += examples.has_text(i) ? 1 : 0;
    counts.both += examples.has_image(i) && examples.has_text(i) ? 1 : 0;
  }
  return counts;
}

std::string row(const std::string& name, const ClassExamples& examples) {
  const Counts counts = count(examples);
  return "| " + name + " | " + std::to_string(examples.size()) + " | " +
         std::to_string(counts.images) + " | " + std::to_string(counts.texts) + " | " +
         std::to_string(counts.both) + " |\n";
}

bool tunes_images(const TrainConfig& config) { return config.preset == "finetune-image"; }

std::string made_of(const TrainConfig& config, const fusion::LabelSet& labels,
                    const ClassOutcome& outcome) {
  const bool tuned = tunes_images(config) && outcome.kept_second_stage;
  std::ostringstream text;
  text << "## What it is made of\n\n"
       << "- Vision: `" << last_part(config.vision) << "`, " << (tuned ? "fine-tuned" : "frozen")
       << ". Text: `" << last_part(config.text) << "`, frozen."
       << (config.from_bundle.empty()
               ? ""
               : " Both are those of `" + last_part(config.from_bundle) + "`.")
       << "\n- Label set `" << labels.name << "`: " << labels.labels.size() << " labels, "
       << (labels.multi_label ? "any number of them a record" : "one a record") << "; a "
       << (labels.hidden_size > 0
               ? "head with " + std::to_string(labels.hidden_size) + " hidden units"
               : std::string("linear head"))
       << " on both pooled vectors"
       << (!tunes_images(config) && outcome.kept_second_stage ? " and the fusion layer" : "")
       << ".\n- `embed` and `match`: ";
  if (config.from_bundle.empty())
    text << "not trained here, their numbers mean nothing.\n\n";
  else if (outcome.kept_second_stage)
    text << "no longer those of `" << last_part(config.from_bundle)
         << "`, whose vectors other weights made; measure before you use them.\n\n";
  else
    text << "as in `" << last_part(config.from_bundle) << "`.\n\n";
  return text.str();
}

std::string training(const TrainConfig& config, const ClassExamples& train,
                     const ClassExamples& validation, const ClassOutcome& outcome) {
  std::ostringstream text;
  text << "## Training\n\n"
       << "| | records | with image | with text | with both |\n|---|---|---|---|---|\n"
       << row("trained on `" + last_part(config.data) + "`", train)
       << row("weights chosen by " + (config.validation.empty()
                                          ? std::string("a part of it")
                                          : "`" + last_part(config.validation) + "`"),
              validation)
       << "\n"
       << outcome.skipped << " records were skipped. Stage 1: the head on frozen features, "
       << config.pooled_epochs << " epochs of batches of " << config.pooled_batch_size << ": "
       << outcome.seeds.metric << " " << fixed(outcome.frozen_value, 2) << ". ";
  if (outcome.second_stage)
    text << "Stage 2: "
         << (tunes_images(config) ? "vision encoder and head on augmented pictures"
                                  : "fusion layer and head")
         << ", " << config.epochs << " epochs at most of batches of " << config.batch_size
         << (outcome.kept_second_stage ? "." : "; it did not gain, and stage 1 was kept.");
  else
    text << "There was no second stage.";
  text << " Class weights: " << config.class_weights << "; label smoothing "
       << config.label_smoothing << "; modality dropout " << config.modality_dropout << ". Seed "
       << outcome.seed << ". It took " << fixed(outcome.core_hours, 3)
       << " core-hours. Every setting is in `training/config.json`, every step in "
          "`training/*.jsonl`.\n\n";
  if (outcome.seeds.values.size() > 1) text << outcome.seeds.for_card();
  return text.str();
}

}  // namespace

std::string class_card(const TrainConfig& config, const fusion::LabelSet& labels,
                       const ClassExamples& train, const ClassExamples& validation,
                       const ClassOutcome& outcome) {
  std::ostringstream text;
  text << card_head("- image-classification\n- text-classification\n") << "# "
       << bundle_name(config) << "\n\n"
       << "Scores an image, a text or both together against " << labels.labels.size()
       << " labels; trained with\n`bifocal train --preset " << config.preset << "`.\n\n"
       << made_of(config, labels, outcome) << training(config, train, validation, outcome)
       << "## Quality\n\n"
       << "On the validation set, by which the weights were chosen, so a little flattering; "
          "percentages, with\nthe interval that holds 95 of 100 samples like this one:\n\n```\n"
       << outcome.figures.to_text() << "```\n\n"
       << "Probabilities are calibrated: logits are divided by " << fixed(outcome.temperature, 3)
       << ", fitted to the validation set";
  if (!labels.multi_label)
    text << " (calibration error\n"
         << fixed(outcome.error_before) << " before, " << fixed(outcome.error_after)
         << " after, on the same records)";
  text << ".\n\n" << card_licences();
  return text.str();
}

}  // namespace bifocal::training
