#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
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

constexpr std::int64_t kEvaluatedTogether = 64;
constexpr std::size_t kMostFitted = 1000;   // images that the fused query is fitted to
constexpr std::int64_t kMostMatched = 600;  // images that the match logit is
constexpr std::int64_t kCandidates = 8;     // false ones of each, the likeliest

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
  const CaptionStates states =
      captions(train_, range(0, std::min(kMostAlignedTexts, train_.captions.lengths.size(0))));
  standardise_tokens(*model_.fusion, plain_images(train_, range(0, images)).tokens.flatten(0, 1),
                     states.tokens.index({states.valid}));
  open_late_interaction(*model_.fusion);
}

namespace {

// Of the first images of the validation set, with the first caption of each: pairs of an image and
// a caption by number, and each one's likeliest false partners.
struct Candidates {
  at::Tensor captions;  // [N, K] int64: for each image, other images' captions
  at::Tensor images;    // [N, K] int64: for each caption, other images
};

Candidates likeliest_false(const at::Tensor& image, const at::Tensor& text) {
  at::Tensor likeness = at::matmul(image, text.t());  // [N, N]
  likeness.fill_diagonal_(-2);                        // less than any cosine
  const std::int64_t each = std::min(kCandidates, likeness.size(0) - 1);
  return {std::get<1>(likeness.topk(each, 1)), std::get<1>(likeness.t().topk(each, 1))};
}

}  // namespace

void FusionRetrieval::calibrate_match() {
  const c10::NoGradGuard no_grad;
  set_training(false);
  const auto count =
      std::min(kMostMatched, static_cast<std::int64_t>(validation_.size()));  // images, N
  if (count < 2) return;
  std::vector<std::int64_t> firsts = first_captions(validation_);
  firsts.resize(static_cast<std::size_t>(count));
  const ImageStates pictures = plain_images(validation_, range(0, count));
  const CaptionStates told = captions(validation_, firsts);
  const fusion::FusionTransformer& fusion = model_.fusion;
  const nn::StateDict weights = nn::state_dict_of(*fusion);
  // [P] and [P] of pairs -> [P, 3]: what the logit has of cosine, late interaction and head.
  const auto terms = [&](const at::Tensor& images, const at::Tensor& texts) {
    std::vector<at::Tensor> parts;
    for (std::int64_t begin = 0; begin < images.size(0); begin += kEvaluatedTogether) {
      const std::int64_t size = std::min(kEvaluatedTogether, images.size(0) - begin);
      const ImageStates image = select(pictures, images.narrow(0, begin, size));
      const CaptionStates text = select(told, texts.narrow(0, begin, size));
      const fusion::FusionOutput both = fusion->forward(fusion_input(&image, &text));
      const at::Tensor cosine = (both.vision * both.text).sum(1) * weights.at("match_scale");
      const at::Tensor late = fusion->config().match_late_interaction
                                  ? fusion->late_match(image.tokens, text.tokens, text.valid)
                                  : at::zeros_like(cosine);
      const at::Tensor head =
          fusion->match(both) - cosine - late - weights.at("match_head.fc2.bias");
      parts.push_back(at::stack({cosine, late, head}, 1));
    }
    return at::cat(parts);
  };
  const auto embeddings = [&](const ImageStates* image, const CaptionStates* text) {
    return fusion->forward(fusion_input(image, text)).embedding;
  };
  const Candidates candidates =
      likeliest_false(embeddings(&pictures, nullptr), embeddings(nullptr, &told));
  const std::int64_t each = candidates.captions.size(1);
  const at::Tensor own = at::arange(count);
  const at::Tensor repeated = own.repeat_interleave(each);
  const at::Tensor yes = terms(own, own);  // [N, 3]
  const at::Tensor mix =
      fit_match_mix(yes, {terms(repeated, candidates.captions.flatten()).view({count, each, 3}),
                          terms(candidates.images.flatten(), repeated).view({count, each, 3})});
  // What ranks well says nothing of how likely a pair is: of every image with its own caption and
  // with any other.
  const at::Tensor no = terms(own, own.roll(1, 0));
  const Logistic fit = fit_logistic(at::matmul(yes, mix), at::matmul(no, mix));
  const auto scale = [&](const char* name, std::int64_t term) {
    if (const auto found = weights.find(name); found != weights.end())
      at::Tensor(found->second).mul_(mix[term] * fit.scale);
  };
  scale("match_scale", 0);
  scale("late_gain", 1);
  scale("match_head.fc2.weight", 2);
  at::Tensor(weights.at("match_head.fc2.bias")).fill_(fit.bias);
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
    const CaptionStates asked = captions(validation_, firsts);
    const fusion::FusionOutput both = model_.fusion->forward(fusion_input(&pictures, &asked));
    own_image.push_back(both.vision);
    own_text.push_back(both.text);
    token.push_back(nn::l2_normalize(at::linear(both.context, weights.at("embedding_head.weight"),
                                                weights.at("embedding_head.bias"))));
    const CaptionStates sought = captions(validation_, others);
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
