#include "training/retrieval.h"

#include <ATen/ops/argsort.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "nn/pooling.h"
#include "row_index.h"

namespace bifocal::training {
namespace {

constexpr double kLargestScale = 100;  // of the contrastive loss, as in CLIP
constexpr std::int64_t kLengthGroups = 4;

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

at::Tensor rows_of(const at::Tensor& data, const std::vector<std::int64_t>& rows,
                   const at::Device& device) {
  return data.index_select(0, index_of(rows)).to(device);
}

Lesson lesson_of(const PairFeatures& pairs, const Drawn& drawn, const at::Device& device) {
  if (!pairs.teacher.defined()) return {};
  return {rows_of(pairs.teacher.images, drawn.images, device),
          rows_of(pairs.teacher.captions, drawn.first, device),
          rows_of(pairs.teacher.captions, drawn.second, device)};
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

void clamp_scale(fusion::FusionTransformerImpl& fusion) {
  const c10::NoGradGuard no_grad;
  at::Tensor scale = fusion.logit_scale();
  scale.clamp_(0, std::log(kLargestScale));
}

}  // namespace

void RetrievalModel::move_to(const at::Device& device) {
  fusion->to(device);
  text->to(device);
  vision.move_to(device);
}

std::vector<std::int64_t> first_captions(const PairFeatures& pairs) {
  return {pairs.first.begin(), pairs.first.end() - 1};
}

PooledHeads::PooledHeads(RetrievalModel model, const PairFeatures& train,
                         const PairFeatures& validation, const Options& options)
    : model_(std::move(model)), train_(train), validation_(validation), options_(options) {}

std::vector<ParameterGroup> PooledHeads::parameter_groups() {
  ParameterGroup group{"pooled heads", {}, options_.learning_rate, options_.weight_decay};
  for (const auto& entry : model_.fusion->named_parameters())
    if (is_pooled_head(entry.key()) || entry.key() == "logit_scale")
      group.parameters.push_back({entry.key(), entry.value()});
  return {group};
}

void PooledHeads::set_training(bool training) { model_.fusion->train(training); }

Loss PooledHeads::loss(const Batch& batch) {
  const Drawn drawn = draw(train_, batch, batch.samples);
  const at::Tensor scale = model_.fusion->logit_scale().exp();
  const at::Device device = model_.device();
  const at::Tensor image = model_.fusion->own_image_vector(
      train_.images.pooled.index({index_of(drawn.images), index_of(drawn.views)}).to(device));
  const at::Tensor first =
      model_.fusion->own_text_vector(rows_of(train_.captions.pooled, drawn.first, device));
  const at::Tensor second =
      model_.fusion->own_text_vector(rows_of(train_.captions.pooled, drawn.second, device));
  const at::Tensor pairs = 0.5 * (info_nce(image, first, scale, *batch.group) +
                                  info_nce(image, second, scale, *batch.group));
  Loss loss{pairs, {{"pairs", pairs.item<double>()}}};
  add_teacher(loss, image, first, second, scale, options_.teacher, lesson_of(train_, drawn, device),
              *batch.group);
  if (options_.contrast_weight > 0) {
    const BatchContrasts contrasts =
        draw_contrasts(train_.contrasts, batch, options_.pairs_per_image, /*matched=*/1);
    const auto texts = [&](const std::vector<std::int64_t>& rows) {
      return model_.fusion->own_text_vector(rows_of(train_.contrasts.texts.pooled, rows, device));
    };
    add_cosine_contrasts(loss, image, texts(contrasts.true_text), texts(contrasts.false_text),
                         scale, contrasts, options_.contrast_weight, *batch.group);
  }
  return loss;
}

void PooledHeads::after_step() { clamp_scale(*model_.fusion); }

Metrics PooledHeads::evaluate() {
  const c10::NoGradGuard no_grad;
  RetrievalVectors vectors;
  const at::Device device = model_.device();
  vectors.image =
      model_.fusion->own_image_vector(validation_.images.pooled.select(1, 0).to(device)).cpu();
  vectors.text = model_.fusion->own_text_vector(validation_.captions.pooled.to(device)).cpu();
  return retrieval_metrics(vectors, validation_.first);
}

FusionRetrieval::FusionRetrieval(RetrievalModel model, const PairFeatures& train,
                                 const PairFeatures& validation, const Options& options)
    : model_(std::move(model)), train_(train), validation_(validation), options_(options) {}

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

CaptionStates FusionRetrieval::captions(const CaptionFeatures& texts,
                                        const std::vector<std::int64_t>& rows,
                                        std::int64_t padded) const {
  const at::Tensor index = index_of(rows);
  const std::int64_t longest = std::max(padded, texts.longest(index));
  const at::Device device = model_.device();
  CaptionStates states;
  states.valid = texts.valid(index, longest, device);  // [B, L]
  // The layers see captions of like length together: half of a batch's padding is not computed.
  const at::Tensor order = at::argsort(texts.lengths.index_select(0, index), /*stable=*/true, 0);
  std::vector<at::Tensor> parts;
  for (const at::Tensor& part : order.chunk(kLengthGroups)) {
    const at::Tensor rows_of_part = index.index_select(0, part);
    const std::int64_t length = texts.longest(rows_of_part);
    const at::Tensor tokens = model_.text->forward(texts.tokens(rows_of_part, length, device),
                                                   texts.valid(rows_of_part, length, device));
    parts.push_back(at::constant_pad_nd(tokens, {0, 0, 0, longest - length}));
  }
  const at::Tensor back = at::argsort(order, true, 0).to(device);
  states.tokens = at::cat(parts).index_select(0, back);  // [B, L, H]
  states.pooled = nn::pool(states.tokens, states.valid, model_.pooling);
  return states;
}

ImageStates FusionRetrieval::plain_images(const PairFeatures& pairs,
                                          const std::vector<std::int64_t>& rows) const {
  return model_.vision.forward(pairs.images, index_of(rows),
                               at::zeros({static_cast<std::int64_t>(rows.size())}, at::kLong),
                               model_.device());
}

// A word may hang on any cell: the images are shown whole.
ShownContrasts FusionRetrieval::show_contrasts(const Batch& batch,
                                               const ImageStates& images) const {
  if (options_.weights.contrast == 0) return {};
  ShownContrasts shown;
  shown.drawn = draw_contrasts(train_.contrasts, batch, options_.pairs_per_image,
                               static_cast<std::size_t>(options_.match_pairs));
  shown.images = images;
  if (!shown.drawn.image.empty()) {
    shown.truths = captions(train_.contrasts.texts, shown.drawn.true_text);
    shown.lies = captions(train_.contrasts.texts, shown.drawn.false_text);
  }
  return shown;
}

Loss FusionRetrieval::loss(const Batch& batch) {
  // Of the whole batch, so that captions are padded alike on all ranks.
  std::int64_t longest = 0;
  if (batch.group->size() > 1)
    longest = train_.captions.longest(index_of(draw(train_, batch, batch.whole).first));
  const Drawn drawn = draw(train_, batch, batch.samples);
  const CaptionStates first = captions(train_.captions, drawn.first, longest);
  const CaptionStates second = captions(train_.captions, drawn.second);
  const at::Device device = model_.device();
  ImageStates images =
      model_.vision.forward(train_.images, index_of(drawn.images), index_of(drawn.views), device);
  const ShownContrasts contrasts = show_contrasts(batch, images);
  images.cells = draw_cells(drawn.randoms, images.tokens.size(1), options_.visual_tokens);
  if (images.cells.defined()) {
    images.cells = images.cells.to(device);
    images.tokens =
        images.tokens.gather(1, images.cells.unsqueeze(-1).expand({-1, -1, images.tokens.size(2)}));
  }
  const double scale = std::exp(model_.fusion->logit_scale().item<double>());
  return retrieval_loss(
      *model_.fusion, images, first, second, options_.weights,
      [&](const at::Tensor& cosines) {
        return draw_false_pairs(cosines.cpu(), scale, options_.match_pairs, batch.random());
      },
      *batch.group, lesson_of(train_, drawn, device), contrasts);
}

void FusionRetrieval::after_step() { clamp_scale(*model_.fusion); }

Metrics FusionRetrieval::evaluate() {
  const c10::NoGradGuard no_grad;
  const auto images = static_cast<std::int64_t>(validation_.size());
  const auto texts = validation_.captions.lengths.size(0);
  std::vector<at::Tensor> image, text, fused, true_match, false_match;
  for (std::int64_t begin = 0; begin < texts; begin += kEvaluatedTogether) {
    const CaptionStates states =
        captions(validation_.captions, range(begin, std::min(begin + kEvaluatedTogether, texts)));
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
    const CaptionStates true_captions = captions(validation_.captions, own);
    const CaptionStates false_captions = captions(validation_.captions, other);
    image.push_back(model_.fusion->forward(fusion_input(&pictures, nullptr)).embedding);
    const fusion::FusionOutput both =
        model_.fusion->forward(fusion_input(&pictures, &true_captions));
    fused.push_back(both.embedding);
    true_match.push_back(model_.fusion->match(both));
    false_match.push_back(
        model_.fusion->match(model_.fusion->forward(fusion_input(&pictures, &false_captions))));
  }
  RetrievalVectors vectors{at::cat(image).cpu(),
                           at::cat(text).cpu(),
                           at::cat(fused).cpu(),
                           at::cat(true_match).cpu(),
                           at::cat(false_match).cpu(),
                           {},
                           {}};
  const at::Tensor first_texts =
      vectors.text.index_select(0, index_of(first_captions(validation_)));
  vectors.true_cosine = (vectors.image * first_texts).sum(1);
  vectors.false_cosine = (vectors.image * first_texts.roll(-1, 0)).sum(1);
  return retrieval_metrics(vectors, validation_.first);
}

}  // namespace bifocal::training
