#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numbers>

#include "calibration.h"
#include "nn/pooling.h"
#include "nn/weights.h"
#include "row_index.h"
#include "training/aligned_start.h"
#include "training/retrieval.h"

// Where the training of retrieval starts and what is fitted when it has ended.
namespace bifocal::training {
namespace {

constexpr std::size_t kMostFitted = 1000;  // images that the fused query is fitted to

}  // namespace

void FusionRetrieval::begin_match_with_cosine() {
  const c10::NoGradGuard no_grad;
  model_.fusion->eval();
  const at::Tensor image = model_.fusion->own_image_vector(train_.images.pooled.select(1, 0));
  const at::Tensor text = model_.fusion->own_text_vector(
      train_.captions.pooled.index_select(0, index_of(first_captions(train_))));
  const Logistic fit = fit_logistic((image * text).sum(1), (image * text.roll(1, 0)).sum(1));
  const nn::StateDict weights = nn::state_dict_of(*model_.fusion);
  at::Tensor(weights.at("match_scale")).fill_(fit.scale);
  at::Tensor(weights.at("match_head.fc2.bias")).fill_(fit.bias);
}

void FusionRetrieval::begin_late_interaction() {
  const c10::NoGradGuard no_grad;
  set_training(false);
  const auto images = std::min(kMostAlignedImages, static_cast<std::int64_t>(train_.size()));
  const CaptionStates states = captions(
      train_.captions, range(0, std::min(kMostAlignedTexts, train_.captions.lengths.size(0))));
  standardise_tokens(*model_.fusion, plain_images(train_, range(0, images)).tokens.flatten(0, 1),
                     states.tokens.index({states.valid}));
  open_late_interaction(*model_.fusion);
}

void FusionRetrieval::calibrate_match() {
  const c10::NoGradGuard no_grad;
  set_training(false);
  const auto images = static_cast<std::int64_t>(validation_.size());
  std::vector<at::Tensor> yes, no;
  for (std::int64_t begin = 0; begin < images; begin += kEvaluatedTogether) {
    std::vector<std::int64_t> rows, own, other;
    for (std::int64_t row = begin; row < std::min(begin + kEvaluatedTogether, images); ++row) {
      const auto i = static_cast<std::size_t>(row);
      const auto next = static_cast<std::size_t>((row + 1) % images);
      const std::size_t others = validation_.first[next + 1] - validation_.first[next];
      for (std::size_t c = 0; c < validation_.first[i + 1] - validation_.first[i]; ++c) {
        rows.push_back(row);
        own.push_back(static_cast<std::int64_t>(validation_.first[i] + c));
        other.push_back(static_cast<std::int64_t>(validation_.first[next] + c % others));
      }
    }
    const ImageStates pictures = plain_images(validation_, rows);
    const auto match = [&](const std::vector<std::int64_t>& texts) {
      const CaptionStates states = captions(validation_.captions, texts);
      return model_.fusion->match(model_.fusion->forward(fusion_input(&pictures, &states)));
    };
    yes.push_back(match(own));
    no.push_back(match(other));
  }
  scale_match(*model_.fusion, fit_logistic(at::cat(yes), at::cat(no)));
}

void FusionRetrieval::calibrate_fused() {
  const c10::NoGradGuard no_grad;
  set_training(false);
  std::vector<std::int64_t> images;  // with a second caption to find
  for (std::size_t i = 0; i < validation_.size() && images.size() < kMostFitted; ++i)
    if (validation_.first[i + 1] - validation_.first[i] > 1)
      images.push_back(static_cast<std::int64_t>(i));
  if (images.empty()) return;
  const nn::StateDict weights = nn::state_dict_of(*model_.fusion);
  std::vector<at::Tensor> own_image, own_text, token, texts;
  std::vector<std::int64_t> owner;
  for (std::size_t begin = 0; begin < images.size(); begin += kEvaluatedTogether) {
    const std::size_t end = std::min(begin + kEvaluatedTogether, images.size());
    std::vector<std::int64_t> rows, firsts, others;
    for (std::size_t query = begin; query < end; ++query) {
      const auto i = static_cast<std::size_t>(images[query]);
      rows.push_back(images[query]);
      firsts.push_back(static_cast<std::int64_t>(validation_.first[i]));
      for (std::size_t c = validation_.first[i] + 1; c < validation_.first[i + 1]; ++c) {
        others.push_back(static_cast<std::int64_t>(c));
        owner.push_back(static_cast<std::int64_t>(query));
      }
    }
    const ImageStates pictures = plain_images(validation_, rows);
    const CaptionStates asked = captions(validation_.captions, firsts);
    const fusion::FusionOutput both = model_.fusion->forward(fusion_input(&pictures, &asked));
    own_image.push_back(both.vision);
    own_text.push_back(both.text);
    token.push_back(nn::l2_normalize(at::linear(both.context, weights.at("embedding_head.weight"),
                                                weights.at("embedding_head.bias"))));
    const CaptionStates sought = captions(validation_.captions, others);
    texts.push_back(model_.fusion->forward(fusion_input(nullptr, &sought)).embedding);
  }
  at::Tensor mix = weights.at("pooled_mix"), gain = weights.at("residual_gain")[2];
  const FusedMix start{mix[0].item<double>() / std::numbers::sqrt2,
                       mix[1].item<double>() / std::numbers::sqrt2, gain.item<double>()};
  const FusedMix fit = fit_fused_mix({at::cat(own_image), at::cat(own_text), at::cat(token)},
                                     at::cat(texts), index_of(owner), start);
  mix[0].fill_(fit.image * std::numbers::sqrt2);
  mix[1].fill_(fit.text * std::numbers::sqrt2);
  gain.fill_(fit.token);
}

}  // namespace bifocal::training
