#include "training/class_training.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

#include "row_index.h"
#include "training/augmentation.h"
#include "training/random_variates.h"
#include "training/retrieval_loss.h"

namespace bifocal::training {
namespace {

std::vector<std::int64_t> chosen(const std::vector<std::int64_t>& of,
                                 const std::vector<std::int64_t>& positions) {
  std::vector<std::int64_t> values;
  for (const std::int64_t position : positions)
    values.push_back(of[static_cast<std::size_t>(position)]);
  return values;
}

ImageStates image_states(const ImageFeatures& images, const at::Tensor& rows,
                         const at::Tensor& views, bool with_tokens, const at::Device& device) {
  ImageStates states;
  states.pooled = images.pooled.index({rows, views}).to(device);  // [b, C]
  if (with_tokens) states.tokens = images.tokens.index({rows, views}).to(device).to(at::kFloat);
  states.grid_height = images.grid_height;
  states.grid_width = images.grid_width;
  return states;
}

// Leaves tokens of each row out of `valid`, [b, L].
void drop_from(at::Tensor& valid, const at::Tensor& lengths, double share,
               const std::vector<std::int64_t>& positions, std::vector<Random>& randoms) {
  auto* row = valid.mutable_data_ptr<bool>();
  for (std::size_t i = 0; i < positions.size(); ++i, row += valid.size(1)) {
    const auto length = static_cast<std::size_t>(lengths.const_data_ptr<std::int64_t>()[i]);
    std::fill_n(row, length, false);
    Random& random = randoms[static_cast<std::size_t>(positions[i])];
    for (const std::size_t kept : drop_tokens(length, share, random)) row[kept] = true;
  }
}

}  // namespace

bool ClassModel::is_head(const std::string& parameter) const {
  return parameter.starts_with("class_heads." + labels().name + ".");
}

at::Tensor ClassModel::pooled_logits(const at::Tensor& image, const at::Tensor& text) const {
  fusion::FusionOutput output;
  output.vision_pooled = image;
  output.text_pooled = text;
  const at::Tensor& shown = image.defined() ? image : text;
  output.context = at::zeros({shown.size(0), fusion->config().hidden_size}, shown.options());
  return fusion->classify(output, label_set);
}

void drop_modality(Shown& shown, std::size_t position, double modality_dropout, Random& random) {
  if (shown.image[position] == kNotShown || shown.text[position] == kNotShown ||
      !chance(random, modality_dropout))
    return;
  (chance(random, 0.5) ? shown.image : shown.text)[position] = kNotShown;
}

std::vector<ParameterGroup> ClassTraining::parameter_groups() {
  std::vector<ParameterGroup> groups = {
      {"class head", {}, options_.learning_rate, options_.weight_decay},
      {"fusion layer", {}, options_.fusion_learning_rate, options_.weight_decay}};
  for (const auto& entry : model_.fusion->named_parameters()) {
    const bool head = model_.is_head(entry.key());
    if (head || options_.through_fusion)
      groups[head ? 0 : 1].parameters.push_back({entry.key(), entry.value()});
  }
  if (!options_.through_fusion) groups.pop_back();
  return groups;
}

at::Tensor ClassTraining::logits(const ClassExamples& examples, const Shown& shown,
                                 const std::vector<std::int64_t>& views,
                                 std::vector<Random>* randoms) const {
  const at::Device device = nn::device_of(*model_.fusion);
  return logits_by_sides(shown, [&](const std::vector<std::int64_t>& positions) {
    const auto first = static_cast<std::size_t>(positions.front());
    const bool with_image = shown.image[first] != kNotShown;
    const bool with_text = shown.text[first] != kNotShown;
    ImageStates images;
    CaptionStates texts;
    if (with_image)
      images = image_states(examples.images, rows_at(shown.image, positions),
                            index_of(chosen(views, positions)), options_.through_fusion, device);
    if (with_text) {
      const at::Tensor rows = rows_at(shown.text, positions);
      texts.pooled = examples.texts.pooled.index_select(0, rows);
      const bool drop = randoms != nullptr && options_.token_dropout > 0;
      if (drop || options_.through_fusion) {
        const std::int64_t longest = examples.texts.longest(rows);
        texts.valid = examples.texts.valid(rows, longest, at::kCPU);  // [b, L]
        texts.tokens = examples.texts.tokens(rows, longest, at::kCPU);
        if (drop) {
          drop_from(texts.valid, examples.texts.lengths.index_select(0, rows),
                    options_.token_dropout, positions, *randoms);
          texts.pooled = nn::pool(texts.tokens, texts.valid, examples.pooling);
        }
        texts.valid = texts.valid.to(device);
        texts.tokens = texts.tokens.to(device);
      }
      texts.pooled = texts.pooled.to(device);
    }
    if (!options_.through_fusion) return model_.pooled_logits(images.pooled, texts.pooled);
    return model_.fusion->classify(
        model_.fusion->forward(
            fusion_input(with_image ? &images : nullptr, with_text ? &texts : nullptr)),
        model_.label_set);
  });
}

Loss ClassTraining::loss(const Batch& batch) {
  Shown shown;
  std::vector<std::int64_t> views, samples;
  std::vector<Random> randoms;
  for (const std::size_t sample : batch.samples) {
    Random random = batch.random_of(sample);
    const std::size_t all_views =
        train_.has_image(sample) ? static_cast<std::size_t>(train_.images.pooled.size(1)) : 1;
    views.push_back(static_cast<std::int64_t>(random.below(all_views)));
    shown.image.push_back(train_.image_row[sample]);
    const std::int64_t begin = train_.first_text[sample], end = train_.first_text[sample + 1];
    shown.text.push_back(end == begin ? kNotShown
                                      : begin + static_cast<std::int64_t>(random.below(
                                                    static_cast<std::size_t>(end - begin))));
    drop_modality(shown, shown.image.size() - 1, options_.modality_dropout, random);
    samples.push_back(static_cast<std::int64_t>(sample));
    randoms.push_back(random);
  }
  const at::Tensor targets = train_.targets.index_select(0, index_of(samples));
  return {class_loss(logits(train_, shown, views, &randoms), targets, options_.loss, *batch.group),
          {}};
}

std::vector<ClassSide> ClassTraining::validation_sides() const {
  return class_sides(validation_, [this](const Shown& shown) {
    const std::vector<std::int64_t> plain(shown.image.size(), 0);
    return logits(validation_, shown, plain, nullptr);
  });
}

Metrics ClassTraining::evaluate() {
  return class_metrics(validation_sides(), model_.labels().multi_label);
}

}  // namespace bifocal::training
