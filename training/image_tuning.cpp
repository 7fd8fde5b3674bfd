#include "training/image_tuning.h"

#include <ATen/ops/cat.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "bifocal/error.h"
#include "row_index.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kEvaluatedTogether = 16;

std::vector<std::size_t> with_images(const ClassExamples& examples) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < examples.size(); ++i)
    if (examples.has_image(i)) found.push_back(i);
  return found;
}

}  // namespace

ImageTuning::ImageTuning(ClassModel model, vision::EfficientNet vision,
                         const vision::Preprocess& preprocess, const ClassExamples& train,
                         const ClassExamples& validation, const Options& options)
    : model_(std::move(model)),
      vision_(std::move(vision)),
      preprocess_(preprocess),
      train_(train),
      validation_(validation),
      options_(options),
      pictured_(with_images(train)),
      train_pictures_(train.records.subset(pictured_)),
      validation_pictures_(validation.records.subset(with_images(validation))),
      loader_(train_pictures_, preprocess, options.augmentation, options.threads) {
  const auto stages = static_cast<std::int64_t>(vision_->config().stages.size());
  if (options.frozen_stages > stages)
    throw Error(ErrorCode::kInvalidArgument,
                "frozen_stages is " + std::to_string(options.frozen_stages) +
                    ", and the vision encoder has " + std::to_string(stages));
}

std::vector<ParameterGroup> ImageTuning::parameter_groups() {
  std::vector<ParameterGroup> groups =
      vision_groups(*vision_, options_.backbone_learning_rate, options_.layer_decay,
                    options_.weight_decay, options_.frozen_stages);
  groups.push_back({"class head", {}, options_.learning_rate, options_.weight_decay});
  for (const auto& entry : model_.fusion->named_parameters())
    if (model_.is_head(entry.key()))
      groups.back().parameters.push_back({"fusion." + entry.key(), entry.value()});
  return groups;
}

nn::StateDict ImageTuning::state() {
  nn::StateDict state = Trainable::state();
  if (options_.live_batch_norm)
    for (const auto& entry : vision_->named_buffers())
      if (entry.value().is_floating_point()) state.emplace("vision." + entry.key(), entry.value());
  return state;
}

void ImageTuning::move_to(const at::Device& device) {
  model_.fusion->to(device);
  vision_->to(device);
}

void ImageTuning::set_training(bool training) {
  model_.fusion->train(training);
  set_vision_training(*vision_, training, options_.live_batch_norm, options_.frozen_stages);
}

at::Tensor ImageTuning::logits(const Shown& shown, const at::Tensor& images,
                               const at::Tensor& texts) const {
  const at::Device device = nn::device_of(*model_.fusion);
  return logits_by_sides(shown, [&](const std::vector<std::int64_t>& positions) {
    const auto side = [&](const at::Tensor& pooled, const std::vector<std::int64_t>& rows) {
      if (rows[static_cast<std::size_t>(positions.front())] == kNotShown) return at::Tensor();
      return pooled.index_select(0, rows_at(rows, positions).to(pooled.device())).to(device);
    };
    return model_.pooled_logits(side(images, shown.image), side(texts, shown.text));
  });
}

Loss ImageTuning::loss(const Batch& batch) {
  at::Tensor pixels = loader_.take(batch);  // [B, 3, H, W]
  Random of_batch = batch.random();
  const Mixture mixture = draw_mixture(options_.mixing, pixels.size(2), pixels.size(3), of_batch);
  const bool mixed = mixture.share < 1;
  Shown shown;
  std::vector<std::int64_t> examples;
  for (const std::size_t sample : batch.samples) {
    const std::size_t example = pictured_[sample];
    Random random = batch.random_of(sample);
    const auto begin = static_cast<std::size_t>(train_.first_text[example]);
    const auto texts = static_cast<std::size_t>(train_.first_text[example + 1]) - begin;
    shown.image.push_back(static_cast<std::int64_t>(examples.size()));
    shown.text.push_back(
        texts == 0 || mixed ? kNotShown : static_cast<std::int64_t>(begin + random.below(texts)));
    drop_modality(shown, examples.size(), options_.modality_dropout, random);
    examples.push_back(static_cast<std::int64_t>(example));
  }
  at::Tensor targets = train_.targets.index_select(0, index_of(examples));
  if (mixed) {
    pixels = mix_pixels(pixels, mixture);
    targets = mix_targets(targets, mixture);
  }
  const at::Tensor pooled =
      vision_->forward_features(pixels.to(nn::device_of(*vision_))).pooled;  // [B, C]
  return {
      class_loss(logits(shown, pooled, train_.texts.pooled), targets, options_.loss, *batch.group),
      {}};
}

std::vector<ClassSide> ImageTuning::validation_sides() {
  const c10::NoGradGuard no_grad;
  at::Tensor pooled;  // [images, C]
  if (!validation_pictures_.empty()) {
    const at::Device device = nn::device_of(*vision_);
    // Our own kernels are the CPU's.
    std::optional<vision::CompiledEfficientNet> compiled;
    if (device.is_cpu()) compiled.emplace(vision_->compile(nn::Precision::kFp32));
    ImageLoader loader(validation_pictures_, preprocess_, {}, options_.threads);
    std::vector<at::Tensor> parts;
    const auto batch_at = [&](std::size_t begin) {
      Batch batch;
      batch.number = static_cast<std::int64_t>(begin);
      for (std::size_t i = begin;
           i < std::min(begin + kEvaluatedTogether, validation_pictures_.size()); ++i)
        batch.samples.push_back(i);
      return batch;
    };
    for (std::size_t begin = 0; begin < validation_pictures_.size(); begin += kEvaluatedTogether) {
      const at::Tensor pixels = loader.take(batch_at(begin));
      if (begin + kEvaluatedTogether < validation_pictures_.size())
        loader.prepare(batch_at(begin + kEvaluatedTogether));
      const c10::InferenceMode inference;
      parts.push_back(compiled ? compiled->forward_features(pixels).pooled
                               : vision_->forward_features(pixels.to(device)).pooled);
    }
    pooled = at::cat(parts);
  }
  // Rows of the frozen tower's images are in the order of the records, as these are.
  return class_sides(validation_, [&](const Shown& shown) {
    return logits(shown, pooled, validation_.texts.pooled);
  });
}

Metrics ImageTuning::evaluate() {
  return class_metrics(validation_sides(), model_.labels().multi_label);
}

}  // namespace bifocal::training
