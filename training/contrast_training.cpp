#include "training/contrast_training.h"

#include <ATen/ops/_unique.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "bifocal/error.h"
#include "calibration.h"
#include "row_index.h"
#include "training/retrieval_loss.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kEvaluatedTogether = 128;

bool is_projection(const std::string& name) {
  return name.starts_with("vision_projection.") || name.starts_with("text_projection.");
}

}  // namespace

ContrastTraining::ContrastTraining(fusion::FusionTransformer fusion, UpperStages vision,
                                   const ContrastFeatures& train,
                                   const ContrastFeatures& validation, Options options)
    : fusion_(std::move(fusion)),
      vision_(std::move(vision)),
      train_(train),
      validation_(validation),
      options_(std::move(options)) {
  if (options_.double_difference && train_.size() < 2)
    throw Error(ErrorCode::kInvalidItem,
                "double_difference compares two images, and there is one to train on");
  for (const std::string& kind : options_.curriculum) {
    const auto found = std::ranges::find(train_.contrasts.kinds, kind);
    if (found == train_.contrasts.kinds.end()) {
      std::string known;
      for (const std::string& other : train_.contrasts.kinds)
        known += (known.empty() ? "" : ", ") + other;
      throw Error(ErrorCode::kInvalidArgument,
                  "curriculum: the data has no contrast of kind \"" + kind + "\"; it has " + known);
    }
    curriculum_.push_back(static_cast<std::size_t>(found - train_.contrasts.kinds.begin()));
  }
}

std::vector<std::size_t> ContrastTraining::kinds_at(std::int64_t epoch) const {
  const double steps = static_cast<double>(curriculum_.size());
  const double done =
      options_.curriculum_epochs > 0 ? static_cast<double>(epoch) / options_.curriculum_epochs : 1;
  std::vector<std::size_t> kinds;
  if (curriculum_.empty() || done >= 1) {
    kinds.resize(train_.contrasts.kinds.size());
    std::iota(kinds.begin(), kinds.end(), std::size_t{0});
    return kinds;
  }
  const auto joined = static_cast<std::size_t>(done * steps) + 1;
  kinds.assign(curriculum_.begin(), curriculum_.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                              joined, curriculum_.size())));
  std::ranges::sort(kinds);
  return kinds;
}

std::vector<ParameterGroup> ContrastTraining::parameter_groups() {
  ParameterGroup layer{"fusion layer", {}, options_.learning_rate, options_.weight_decay};
  ParameterGroup heads{"pooled heads", {}, options_.heads_learning_rate, options_.weight_decay};
  ParameterGroup gains{"gains", {}, options_.gains_learning_rate, 0.0};
  for (const auto& entry : fusion_->named_parameters()) {
    const std::string& name = entry.key();
    const NamedParameter parameter{name, entry.value()};
    switch (options_.phase) {
      case Phase::kPooledHeads:
        if (is_pooled_head(name)) heads.parameters.push_back(parameter);
        if (name == "match_scale" || (name == "match_head.fc2.bias" && !options_.double_difference))
          gains.parameters.push_back(parameter);
        break;
      case Phase::kTokenProjections:
        if (is_projection(name)) layer.parameters.push_back(parameter);
        if (is_late_gain(name)) gains.parameters.push_back(parameter);
        break;
      case Phase::kFusion:
        (is_pooled_head(name) ? heads
         : is_gain(name)      ? gains
                              : layer)
            .parameters.push_back(parameter);
        break;
    }
  }
  std::vector<ParameterGroup> groups;
  for (ParameterGroup& group : {std::ref(layer), std::ref(heads), std::ref(gains)})
    if (!group.parameters.empty()) groups.push_back(std::move(group));
  if (options_.phase == Phase::kFusion)
    for (ParameterGroup& group : vision_.parameter_groups(
             options_.vision_learning_rate, options_.vision_layer_decay, options_.weight_decay))
      groups.push_back(std::move(group));
  return groups;
}

void ContrastTraining::move_to(const at::Device& device) {
  fusion_->to(device);
  vision_.move_to(device);
}

void ContrastTraining::set_training(bool training) {
  fusion_->train(training);
  if (options_.phase == Phase::kTokenProjections)
    for (const auto& child : fusion_->named_children())
      if (is_pooled_head(child.key() + ".")) child.value()->eval();
  vision_.set_training(training && options_.phase == Phase::kFusion);
}

// [P]: what the match logit is before any layer takes part.
at::Tensor ContrastTraining::cosine_logit(const at::Tensor& image_pooled,
                                          const at::Tensor& text_pooled) const {
  const auto parameters = fusion_->named_parameters();
  const at::Tensor cosine =
      (fusion_->own_image_vector(image_pooled) * fusion_->own_text_vector(text_pooled)).sum(1);
  return cosine * parameters["match_scale"] + parameters["match_head.fc2.bias"];
}

ContrastTraining::Logits ContrastTraining::logits(const ContrastFeatures& features,
                                                  const std::vector<std::int64_t>& images,
                                                  const std::vector<std::int64_t>& texts) const {
  const at::Device device = nn::device_of(*fusion_);
  const at::Tensor image_rows = index_of(images), text_rows = index_of(texts);
  const at::Tensor text_pooled =
      features.contrasts.texts.pooled.index_select(0, text_rows).to(device);  // [P, H]
  if (options_.phase == Phase::kPooledHeads) {
    const at::Tensor pooled = features.images.pooled.select(1, 0).index_select(0, image_rows);
    return {cosine_logit(pooled.to(device), text_pooled), {}};
  }
  const CaptionFeatures& written = features.contrasts.texts;
  const std::int64_t longest = written.longest(text_rows);
  // Each image once, however many pairs show it; its stages are trained in the last phase alone.
  const auto [distinct, inverse] =
      at::_unique(image_rows, /*sorted=*/true, /*return_inverse=*/true);
  const at::Tensor place = inverse.to(device);
  const ImageStates image_states = [&, &distinct = distinct] {
    const c10::AutoGradMode trained(options_.phase == Phase::kFusion &&
                                    c10::GradMode::is_enabled());
    return vision_.forward(features.images, distinct, at::zeros_like(distinct), device);
  }();
  const CaptionStates text_states{written.tokens(text_rows, longest, device), text_pooled,
                                  written.valid(text_rows, longest, device)};
  fusion::FusionInput both = fusion_input(&image_states, &text_states);
  both.vision_rows = place;
  if (options_.phase == Phase::kFusion) {
    fusion::FusionOutput output = fusion_->forward(both);
    const at::Tensor whole = fusion_->match(output);
    output.late_interaction = at::zeros_like(output.late_interaction);
    return {whole, fusion_->match(output)};
  }
  const at::Tensor given = [&] {
    const c10::NoGradGuard no_grad;
    return cosine_logit(image_states.pooled.index_select(0, place), text_pooled);
  }();
  return {given + fusion_->late_match(both), {}};
}

std::int64_t ContrastTraining::partner_of(const ContrastTexts::Pair& pair, Random& random) const {
  const std::vector<std::int64_t>& known = train_.contrasts.partners[pair.partners];
  if (!known.empty()) return known[random.below(known.size())];
  return other_row(static_cast<std::int64_t>(train_.size()), static_cast<std::int64_t>(pair.record),
                   random);
}

ContrastTraining::Shown ContrastTraining::show(const Batch& batch,
                                               const std::vector<std::size_t>& kinds) const {
  Shown shown;
  for (const std::size_t sample : batch.samples) {
    Random random = batch.random_of(sample);
    for (const std::size_t p :
         train_.contrasts.draw(sample, kinds, options_.pairs_per_image, random)) {
      const ContrastTexts::Pair& pair = train_.contrasts.pairs[p];
      shown.images.push_back(static_cast<std::int64_t>(sample));
      shown.true_texts.push_back(pair.true_text);
      shown.false_texts.push_back(pair.false_text);
      if (options_.double_difference) shown.partners.push_back(partner_of(pair, random));
    }
  }
  return shown;
}

Loss ContrastTraining::loss(const Batch& batch) {
  const std::vector<std::size_t> kinds = kinds_at(batch.epoch);
  const Shown shown = show(batch, kinds);
  const std::size_t pairs = shown.images.size();
  at::Tensor all = at::full({}, static_cast<double>(pairs), at::kDouble);
  batch.group->sum(all);
  const auto kinds_shown = static_cast<double>(kinds.size());
  if (pairs == 0) {
    // A batch of images without a contrast of these kinds teaches nothing.
    at::Tensor nothing = at::zeros({}, nn::device_of(*fusion_));
    for (const ParameterGroup& group : parameter_groups())
      nothing = nothing + group.parameters.front().parameter.sum() * 0;
    Loss loss{nothing, {{"ranking", 0}, {"right", 0}, {"kinds", kinds_shown}}};
    if (!options_.double_difference) loss.parts["match"] = 0;
    return loss;
  }
  // Ranks have different numbers of pairs: the mean over the ranks is that over all pairs.
  const double share = static_cast<double>(batch.group->size()) / all.item<double>();
  const auto mean = [share](const at::Tensor& of_pairs) { return of_pairs.sum() * share; };
  // All true pairs, then all false ones; then the same with the partners.
  std::vector<std::int64_t> images, texts;
  for (const std::vector<std::int64_t>* rows : {&shown.images, &shown.partners})
    for (const std::vector<std::int64_t>* of_rows : {&shown.true_texts, &shown.false_texts}) {
      if (rows->empty()) continue;
      images.insert(images.end(), rows->begin(), rows->end());
      texts.insert(texts.end(), of_rows->begin(), of_rows->end());
    }
  const Logits found = logits(train_, images, texts);
  const auto loss_of = [&](const at::Tensor& of_all, const std::string& name, Loss& loss) {
    const std::vector<at::Tensor> sides = of_all.split(static_cast<std::int64_t>(pairs));
    const at::Tensor &yes = sides[0], &no = sides[1];  // [P]
    loss.parts["right" + name] = 100 * mean((yes > no).to(at::kFloat)).item<double>();
    const at::Tensor elsewhere = options_.double_difference ? sides[2] - sides[3] : at::Tensor();
    const at::Tensor order =
        mean(at::softplus(elsewhere.defined() ? elsewhere - (yes - no) : no - yes));
    loss.parts["ranking" + name] = order.item<double>();
    if (options_.double_difference) return order;
    const at::Tensor entropy = 0.5 * (mean(at::softplus(-yes)) + mean(at::softplus(no)));
    loss.parts["match" + name] = entropy.item<double>();
    return entropy + options_.ranking_weight * order;
  };
  Loss loss{{}, {{"kinds", kinds_shown}}};
  loss.total = loss_of(found.whole, "", loss);
  if (found.without_tokens.defined())
    loss.total = 0.5 * (loss.total + loss_of(found.without_tokens, " without tokens", loss));
  return loss;
}

std::pair<at::Tensor, at::Tensor> ContrastTraining::validation_logits() const {
  const c10::NoGradGuard no_grad;
  std::vector<at::Tensor> yes, no;
  for (std::size_t begin = 0; begin < validation_.contrasts.pairs.size();
       begin += kEvaluatedTogether) {
    const std::size_t end =
        std::min(begin + kEvaluatedTogether, validation_.contrasts.pairs.size());
    std::vector<std::int64_t> images, texts, false_texts;
    for (std::size_t p = begin; p < end; ++p) {
      images.push_back(static_cast<std::int64_t>(validation_.contrasts.pairs[p].record));
      texts.push_back(validation_.contrasts.pairs[p].true_text);
      false_texts.push_back(validation_.contrasts.pairs[p].false_text);
    }
    yes.push_back(logits(validation_, images, texts).whole.cpu());
    no.push_back(logits(validation_, images, false_texts).whole.cpu());
  }
  return {at::cat(yes), at::cat(no)};
}

void ContrastTraining::calibrate() {
  const c10::NoGradGuard no_grad;
  set_training(false);
  const auto [yes, no] = validation_logits();
  scale_match(*fusion_, fit_logistic(yes, no));
}

Metrics ContrastTraining::evaluate() {
  const auto [yes, no] = validation_logits();
  const float* of_true = yes.const_data_ptr<float>();
  const float* of_false = no.const_data_ptr<float>();
  std::vector<double> right(validation_.contrasts.kinds.size()),
      count(validation_.contrasts.kinds.size());
  for (std::size_t p = 0; p < validation_.contrasts.pairs.size(); ++p) {
    const float difference = of_true[p] - of_false[p];
    right[validation_.contrasts.pairs[p].kind] += difference > 0 ? 1 : difference < 0 ? 0 : 0.5;
    count[validation_.contrasts.pairs[p].kind] += 1;
  }
  Metrics metrics;
  double all = 0;
  for (std::size_t k = 0; k < right.size(); ++k) {
    if (count[k] == 0) continue;
    metrics[validation_.contrasts.kinds[k].empty() ? "(no kind)" : validation_.contrasts.kinds[k]] =
        100 * right[k] / count[k];
    all += right[k];
  }
  metrics["all"] = 100 * all / static_cast<double>(validation_.contrasts.pairs.size());
  return metrics;
}

}  // namespace bifocal::training
