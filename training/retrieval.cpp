#include "training/retrieval.h"

#include <ATen/TensorIndexing.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "calibration.h"
#include "nn/pooling.h"
#include "row_index.h"
#include "training/aligned_start.h"

namespace bifocal::training {
namespace {

constexpr double kLargestScale = 100;  // of the contrastive loss, as in CLIP
constexpr std::int64_t kEvaluatedTogether = 64;
constexpr std::int64_t kLengthGroups = 4;
constexpr std::size_t kMostFitted = 1000;  // images that the fused query is fitted to

bool starts_with_any(const std::string& name, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&name](std::string_view prefix) { return name.starts_with(prefix); });
}

bool is_gain(const std::string& name) {
  return is_late_gain(name) ||
         starts_with_any(name, {"pooled_mix", "residual_gain", "match_scale", "logit_scale"});
}

// Two different captions of an image, or its only one twice.
std::pair<std::size_t, std::size_t> draw_captions(const PairFeatures& pairs, std::size_t image,
                                                  Random& random) {
  const std::size_t begin = pairs.first[image];
  const std::size_t count = pairs.first[image + 1] - begin;
  const std::size_t one = random.below(count);
  if (count == 1) return {begin, begin};
  const std::size_t step = 1 + random.below(count - 1);
  return {begin + one, begin + (one + step) % count};
}

std::vector<std::int64_t> range(std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(last - first));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

// What of a batch is drawn for a sample, in the one order that both stages draw in.
struct Drawn {
  std::vector<std::int64_t> images, views, first, second;
  std::vector<Random> randoms;  // of each sample, to draw on from
};

Drawn draw(const PairFeatures& pairs, const Batch& batch, const std::vector<std::size_t>& samples) {
  Drawn drawn;
  const auto views = static_cast<std::size_t>(pairs.images.pooled.size(1));
  for (const std::size_t sample : samples) {
    Random random = batch.random_of(sample);
    const auto [one, two] = draw_captions(pairs, sample, random);
    drawn.images.push_back(static_cast<std::int64_t>(sample));
    drawn.views.push_back(static_cast<std::int64_t>(random.below(views)));
    drawn.first.push_back(static_cast<std::int64_t>(one));
    drawn.second.push_back(static_cast<std::int64_t>(two));
    drawn.randoms.push_back(random);
  }
  return drawn;
}

// Some cells of each image's map, drawn anew each time. [B, n] int64, or undefined: all of them.
at::Tensor draw_cells(const std::vector<Random>& randoms, std::int64_t all, std::int64_t kept) {
  if (kept >= all) return {};
  const auto rows = static_cast<std::int64_t>(randoms.size());
  at::Tensor drawn = at::empty({rows, kept}, at::kLong);
  for (std::int64_t i = 0; i < rows; ++i) {
    std::vector<std::int64_t> cells = range(0, all);
    Random random = randoms[static_cast<std::size_t>(i)];
    random.shuffle(cells);
    std::copy_n(cells.begin(), kept, drawn.mutable_data_ptr<std::int64_t>() + i * kept);
  }
  return drawn;
}

std::vector<std::int64_t> first_captions(const PairFeatures& pairs) {
  std::vector<std::int64_t> firsts;
  for (std::size_t i = 0; i < pairs.size(); ++i)
    firsts.push_back(static_cast<std::int64_t>(pairs.first[i]));
  return firsts;
}

void clamp_scale(fusion::FusionTransformerImpl& fusion) {
  const c10::NoGradGuard no_grad;
  at::Tensor scale = fusion.logit_scale();
  scale.clamp_(0, std::log(kLargestScale));
}

}  // namespace

PooledHeads::PooledHeads(RetrievalModel model, const PairFeatures& train,
                         const PairFeatures& validation, double learning_rate, double weight_decay)
    : model_(std::move(model)),
      train_(train),
      validation_(validation),
      learning_rate_(learning_rate),
      weight_decay_(weight_decay) {}

std::vector<ParameterGroup> PooledHeads::parameter_groups() {
  ParameterGroup group{"pooled heads", {}, learning_rate_, weight_decay_};
  for (const auto& entry : model_.fusion->named_parameters())
    if (is_pooled_head(entry.key()) || entry.key() == "logit_scale")
      group.parameters.push_back({entry.key(), entry.value()});
  return {group};
}

void PooledHeads::set_training(bool training) { model_.fusion->train(training); }

Loss PooledHeads::loss(const Batch& batch) {
  const Drawn drawn = draw(train_, batch, batch.samples);
  const at::Tensor scale = model_.fusion->logit_scale().exp();
  const at::Tensor image = model_.fusion->own_image_vector(
      train_.images.pooled.index({index_of(drawn.images), index_of(drawn.views)}));
  at::Tensor total;
  for (const auto& rows : {drawn.first, drawn.second}) {
    const at::Tensor text =
        model_.fusion->own_text_vector(train_.captions.pooled.index_select(0, index_of(rows)));
    const at::Tensor loss = 0.5 * info_nce(image, text, scale, *batch.group);
    total = total.defined() ? total + loss : loss;
  }
  return {total, {{"pairs", total.item<double>()}}};
}

void PooledHeads::after_step() { clamp_scale(*model_.fusion); }

Metrics PooledHeads::evaluate() {
  const c10::NoGradGuard no_grad;
  RetrievalVectors vectors;
  vectors.image = model_.fusion->own_image_vector(validation_.images.pooled.select(1, 0));
  vectors.text = model_.fusion->own_text_vector(validation_.captions.pooled);
  return retrieval_metrics(vectors, validation_.first);
}

FusionRetrieval::FusionRetrieval(RetrievalModel model, const PairFeatures& train,
                                 const PairFeatures& validation, const Options& options)
    : model_(std::move(model)), train_(train), validation_(validation), options_(options) {}

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
      const CaptionStates states = captions(validation_, texts);
      return model_.fusion->match(model_.fusion->forward(fusion_input(&pictures, &states)));
    };
    yes.push_back(match(own));
    no.push_back(match(other));
  }
  const Logistic fit = fit_logistic(at::cat(yes), at::cat(no));
  const nn::StateDict weights = nn::state_dict_of(*model_.fusion);
  for (const char* name :
       {"match_scale", "match_head.fc2.weight", "match_head.fc2.bias", "late_gain"})
    if (const auto found = weights.find(name); found != weights.end())
      at::Tensor(found->second).mul_(fit.scale);
  at::Tensor(weights.at("match_head.fc2.bias")).add_(fit.bias);
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

std::vector<ParameterGroup> FusionRetrieval::parameter_groups() {
  std::vector<ParameterGroup> groups = {
      {"fusion layer", {}, options_.learning_rate, options_.weight_decay},
      {"pooled heads", {}, options_.heads_learning_rate, options_.weight_decay},
      {"gains", {}, options_.gains_learning_rate, 0.0}};
  for (const auto& entry : model_.fusion->named_parameters()) {
    const std::string& name = entry.key();
    groups[is_pooled_head(name) ? 1 : (is_gain(name) ? 2 : 0)].parameters.push_back(
        {"fusion." + name, entry.value()});
  }
  const nn::StateDict text = [this] {
    nn::StateDict found;
    for (const auto& entry : model_.text->named_parameters())
      found.emplace(entry.key(), entry.value());
    return found;
  }();
  std::map<std::int64_t, ParameterGroup> layers;  // by number
  for (const auto& [name, parameter] : text) {
    const std::int64_t layer = std::stoll(name.substr(name.find('.') + 1));
    layers[layer].parameters.push_back({"text." + name, parameter});
  }
  for (ParameterGroup& group : model_.vision.parameter_groups(
           options_.vision_learning_rate, options_.vision_layer_decay, options_.weight_decay))
    groups.push_back(std::move(group));
  if (layers.empty()) return groups;
  const std::int64_t top = layers.rbegin()->first;
  for (auto& [number, group] : layers) {
    group.name = "text layer " + std::to_string(number);
    group.learning_rate = options_.text_learning_rate *
                          std::pow(options_.text_layer_decay, static_cast<double>(top - number));
    group.weight_decay = options_.weight_decay;
    groups.push_back(std::move(group));
  }
  return groups;
}

void FusionRetrieval::set_training(bool training) {
  model_.fusion->train(training);
  model_.vision.set_training(training);
  model_.text->train(training);
}

CaptionStates FusionRetrieval::captions(const PairFeatures& pairs,
                                        const std::vector<std::int64_t>& rows,
                                        std::int64_t padded) const {
  const at::Tensor index = index_of(rows);
  const at::Tensor lengths = pairs.captions.lengths.index_select(0, index);  // [B]
  const std::int64_t longest = std::max(padded, lengths.max().item<std::int64_t>());
  CaptionStates states;
  states.valid = at::arange(longest).unsqueeze(0) < lengths.unsqueeze(1);  // [B, L]
  // The layers see captions of like length together: half of a batch's padding is not computed.
  const at::Tensor order = at::argsort(lengths, /*stable=*/true, 0);
  std::vector<at::Tensor> parts;
  for (const at::Tensor& part : order.chunk(kLengthGroups)) {
    const std::int64_t length = lengths.index_select(0, part).max().item<std::int64_t>();
    const at::Tensor hidden = pairs.captions.hidden.index_select(0, index.index_select(0, part))
                                  .narrow(1, 0, length)
                                  .to(at::kFloat);
    const at::Tensor tokens =
        model_.text->forward(hidden, states.valid.index_select(0, part).narrow(1, 0, length));
    parts.push_back(at::constant_pad_nd(tokens, {0, 0, 0, longest - length}));
  }
  states.tokens = at::cat(parts).index_select(0, at::argsort(order, true, 0));  // [B, L, H]
  states.pooled = nn::pool(states.tokens, states.valid, model_.pooling);
  return states;
}

ImageStates FusionRetrieval::plain_images(const PairFeatures& pairs,
                                          const std::vector<std::int64_t>& rows) const {
  return model_.vision.forward(pairs.images, index_of(rows),
                               at::zeros({static_cast<std::int64_t>(rows.size())}, at::kLong));
}

Loss FusionRetrieval::loss(const Batch& batch) {
  // Of the whole batch, so that captions are padded alike on all ranks.
  std::int64_t longest = 0;
  if (batch.group->size() > 1)
    longest =
        train_.captions.lengths.index_select(0, index_of(draw(train_, batch, batch.whole).first))
            .max()
            .item<std::int64_t>();
  const Drawn drawn = draw(train_, batch, batch.samples);
  const CaptionStates first = captions(train_, drawn.first, longest);
  const CaptionStates second = captions(train_, drawn.second);
  ImageStates images =
      model_.vision.forward(train_.images, index_of(drawn.images), index_of(drawn.views));
  images.cells = draw_cells(drawn.randoms, images.tokens.size(1), options_.visual_tokens);
  if (images.cells.defined())
    images.tokens =
        images.tokens.gather(1, images.cells.unsqueeze(-1).expand({-1, -1, images.tokens.size(2)}));
  const double scale = std::exp(model_.fusion->logit_scale().item<double>());
  return retrieval_loss(
      *model_.fusion, images, first, second, options_.weights,
      [&](const at::Tensor& cosines) {
        return draw_false_pairs(cosines, scale, options_.match_pairs, batch.random());
      },
      *batch.group);
}

void FusionRetrieval::after_step() { clamp_scale(*model_.fusion); }

Metrics FusionRetrieval::evaluate() {
  const c10::NoGradGuard no_grad;
  const auto images = static_cast<std::int64_t>(validation_.size());
  const auto texts = validation_.captions.lengths.size(0);
  std::vector<at::Tensor> image, text, fused, true_match, false_match;
  for (std::int64_t begin = 0; begin < texts; begin += kEvaluatedTogether) {
    const CaptionStates states =
        captions(validation_, range(begin, std::min(begin + kEvaluatedTogether, texts)));
    text.push_back(model_.fusion->forward(fusion_input(nullptr, &states)).embedding);
  }
  for (std::int64_t begin = 0; begin < images; begin += kEvaluatedTogether) {
    const std::vector<std::int64_t> rows =
        range(begin, std::min(begin + kEvaluatedTogether, images));
    const ImageStates pictures = plain_images(validation_, rows);
    std::vector<std::int64_t> own, other;
    for (const std::int64_t row : rows) {
      const auto next = static_cast<std::size_t>((row + 1) % images);
      own.push_back(static_cast<std::int64_t>(validation_.first[static_cast<std::size_t>(row)]));
      other.push_back(static_cast<std::int64_t>(validation_.first[next]));
    }
    const CaptionStates true_captions = captions(validation_, own);
    const CaptionStates false_captions = captions(validation_, other);
    image.push_back(model_.fusion->forward(fusion_input(&pictures, nullptr)).embedding);
    const fusion::FusionOutput both =
        model_.fusion->forward(fusion_input(&pictures, &true_captions));
    fused.push_back(both.embedding);
    true_match.push_back(model_.fusion->match(both));
    false_match.push_back(
        model_.fusion->match(model_.fusion->forward(fusion_input(&pictures, &false_captions))));
  }
  RetrievalVectors vectors{at::cat(image),
                           at::cat(text),
                           at::cat(fused),
                           at::cat(true_match),
                           at::cat(false_match),
                           {},
                           {}};
  const at::Tensor first_texts =
      vectors.text.index_select(0, index_of(first_captions(validation_)));
  vectors.true_cosine = (vectors.image * first_texts).sum(1);
  vectors.false_cosine = (vectors.image * first_texts.roll(-1, 0)).sum(1);
  return retrieval_metrics(vectors, validation_.first);
}

}  // namespace bifocal::training
