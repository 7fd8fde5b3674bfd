#include "training/retrieval_loss.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/softplus.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace bifocal::training {
namespace {

constexpr double kLikelyShare = 0.5;  // of the false pairs, drawn by likeness
constexpr double kAgainstImage = 0.5;

at::Tensor index_of(const std::vector<std::int64_t>& rows) { return at::tensor(rows, at::kLong); }

CaptionStates select(const CaptionStates& states, const at::Tensor& rows) {
  return {states.tokens.index_select(0, rows), states.pooled.index_select(0, rows),
          states.valid.index_select(0, rows)};
}

ImageStates select(const ImageStates& states, const at::Tensor& rows) {
  return {states.tokens.index_select(0, rows), states.pooled.index_select(0, rows),
          states.cells.defined() ? states.cells.index_select(0, rows) : at::Tensor(),
          states.grid_height, states.grid_width};
}

// Another row than `own`, by weights [n].
std::int64_t draw(const float* weights, std::int64_t count, std::int64_t own, Random& random) {
  double total = 0;
  for (std::int64_t i = 0; i < count; ++i)
    if (i != own) total += static_cast<double>(weights[i]);
  double left = random.uniform() * total;
  std::int64_t last = own == 0 ? 1 : 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (i == own) continue;
    last = i;
    left -= static_cast<double>(weights[i]);
    if (left < 0) break;
  }
  return last;
}

std::int64_t draw_any(std::int64_t count, std::int64_t own, Random& random) {
  const auto drawn = static_cast<std::int64_t>(random.below(static_cast<std::size_t>(count - 1)));
  return drawn + (drawn >= own ? 1 : 0);
}

}  // namespace

at::Tensor info_nce(const at::Tensor& a, const at::Tensor& b, const at::Tensor& scale) {
  const at::Tensor logits = at::matmul(a, b.t()) * scale;  // [B, B]
  return -0.5 * (at::log_softmax(logits, 1).diagonal().mean() +
                 at::log_softmax(logits, 0).diagonal().mean());
}

fusion::FusionInput fusion_input(const ImageStates* images, const CaptionStates* captions) {
  fusion::FusionInput input;
  if (images != nullptr) {
    input.vision_tokens = images->tokens;
    input.vision_pooled = images->pooled;
    input.vision_cells = images->cells;
    input.grid_height = images->grid_height;
    input.grid_width = images->grid_width;
  }
  if (captions != nullptr) {
    input.text_tokens = captions->tokens;
    input.text_pooled = captions->pooled;
    input.text_valid = captions->valid;
  }
  return input;
}

Loss retrieval_loss(const fusion::FusionTransformerImpl& fusion, const ImageStates& images,
                    const CaptionStates& first, const CaptionStates& second,
                    const RetrievalWeights& weights,
                    const std::function<FalsePairs(const at::Tensor& cosines)>& choose) {
  const auto embed = [&fusion](const ImageStates* image, const CaptionStates* caption) {
    return fusion.forward(fusion_input(image, caption));
  };
  const at::Tensor scale = fusion.logit_scale().exp();
  const at::Tensor image = embed(&images, nullptr).embedding;   // [B, e]
  const at::Tensor text_1 = embed(nullptr, &first).embedding;   // [B, e]
  const at::Tensor text_2 = embed(nullptr, &second).embedding;  // [B, e]
  const at::Tensor pairs = 0.5 * (info_nce(image, text_1, scale) + info_nce(image, text_2, scale));
  const at::Tensor captions = info_nce(text_1, text_2, scale);
  Loss loss{pairs + weights.caption * captions,
            {{"pairs", pairs.item<double>()}, {"captions", captions.item<double>()}}};
  if (weights.fused == 0 && weights.match == 0) return loss;

  const fusion::FusionOutput both = embed(&images, &first);
  if (weights.fused > 0) {
    const at::Tensor fused = info_nce(both.embedding, text_2, scale) +
                             kAgainstImage * info_nce(both.embedding, image, scale);
    loss.total = loss.total + weights.fused * fused;
    loss.parts["fused"] = fused.item<double>();
  }
  if (weights.match > 0 && image.size(0) > 1) {
    FalsePairs chosen;
    {
      const c10::NoGradGuard no_grad;
      chosen = choose(at::matmul(image, text_1.t()));
    }
    const at::Tensor rows = index_of(chosen.pair);
    const ImageStates true_images = select(images, rows);
    const CaptionStates true_captions = select(first, rows);
    const CaptionStates false_captions = select(first, index_of(chosen.caption));
    const ImageStates false_images = select(images, index_of(chosen.image));
    const at::Tensor yes = fusion.match(both).index_select(0, rows);             // [P]
    const at::Tensor no_1 = fusion.match(embed(&true_images, &false_captions));  // [P]
    const at::Tensor no_2 = fusion.match(embed(&false_images, &true_captions));  // [P]
    const at::Tensor entropy =
        at::softplus(-yes).mean() + 0.5 * (at::softplus(no_1).mean() + at::softplus(no_2).mean());
    const at::Tensor order =
        0.5 * (at::softplus(no_1 - yes).mean() + at::softplus(no_2 - yes).mean());
    loss.total = loss.total + weights.match * (entropy + weights.ranking * order);
    loss.parts["match"] = entropy.item<double>();
    loss.parts["ranking"] = order.item<double>();
  }
  return loss;
}

FalsePairs draw_false_pairs(const at::Tensor& cosines, double scale, std::int64_t pairs,
                            Random random) {
  const std::int64_t count = cosines.size(0);
  const at::Tensor by_image = at::softmax(cosines * scale, 1).contiguous();        // [B, B]
  const at::Tensor by_caption = at::softmax(cosines.t() * scale, 1).contiguous();  // [B, B]
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  random.shuffle(rows);
  rows.resize(static_cast<std::size_t>(std::min(pairs, count)));
  FalsePairs chosen;
  for (const std::int64_t row : rows) {
    const auto other = [&](const at::Tensor& likeness) {
      if (random.uniform() >= kLikelyShare) return draw_any(count, row, random);
      return draw(likeness.const_data_ptr<float>() + row * count, count, row, random);
    };
    chosen.pair.push_back(row);
    chosen.caption.push_back(other(by_image));
    chosen.image.push_back(other(by_caption));
  }
  return chosen;
}

}  // namespace bifocal::training
