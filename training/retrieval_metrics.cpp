#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>

#include <limits>

#include "training/retrieval.h"

namespace bifocal::training {
namespace {

// Per row, how many irrelevant columns score above its best relevant one: [rows].
at::Tensor ranks(const at::Tensor& scores, const at::Tensor& relevant) {
  const float lowest = -std::numeric_limits<float>::infinity();
  const at::Tensor best = scores.masked_fill(relevant.logical_not(), lowest).amax(1, true);
  return (scores.masked_fill(relevant, lowest) > best).sum(1);
}

double percent(const at::Tensor& hits) { return 100 * hits.to(at::kDouble).mean().item<double>(); }

double best_threshold_accuracy(const at::Tensor& yes, const at::Tensor& no) {
  const at::Tensor thresholds = at::cat({yes, no});
  const at::Tensor right = (yes.unsqueeze(0) >= thresholds.unsqueeze(1)).sum(1) +
                           (no.unsqueeze(0) < thresholds.unsqueeze(1)).sum(1);
  return 100 * right.max().item<double>() / static_cast<double>(yes.numel() + no.numel());
}

}  // namespace

Metrics retrieval_metrics(const RetrievalVectors& vectors, const std::vector<std::size_t>& first) {
  const auto images = vectors.image.size(0);
  const auto texts = vectors.text.size(0);
  at::Tensor owner = at::empty({texts}, at::kLong), firsts = at::empty({images}, at::kLong);
  at::Tensor is_other = at::ones({texts}, at::kBool);
  for (std::int64_t i = 0; i < images; ++i) {
    const auto begin = first[static_cast<std::size_t>(i)];
    firsts.mutable_data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(begin);
    is_other.mutable_data_ptr<bool>()[begin] = false;
    for (std::size_t t = begin; t < first[static_cast<std::size_t>(i) + 1]; ++t)
      owner.mutable_data_ptr<std::int64_t>()[t] = i;
  }
  const at::Tensor relevant = owner.unsqueeze(0) == at::arange(images).unsqueeze(1);  // [N, M]
  const at::Tensor cosines = at::matmul(vectors.image, vectors.text.t());             // [N, M]
  const at::Tensor to_text = ranks(cosines, relevant);
  const at::Tensor to_image = ranks(cosines.t(), relevant.t());
  Metrics metrics;
  for (const int k : {1, 5, 10}) {
    const std::string suffix = "_r" + std::to_string(k);
    metrics["image_to_text" + suffix] = percent(to_text < k);
    metrics["text_to_image" + suffix] = percent(to_image < k);
    metrics["rsum"] += metrics["image_to_text" + suffix] + metrics["text_to_image" + suffix];
  }
  if (!vectors.fused.defined()) return metrics;

  // Images with a single caption have no other to be found by.
  const at::Tensor gallery = is_other.nonzero().squeeze(1);
  const at::Tensor among = relevant.index_select(1, gallery);
  const at::Tensor asked = among.any(1).nonzero().squeeze(1);
  if (asked.numel() > 0) {
    const at::Tensor others = vectors.text.index_select(0, gallery);
    const at::Tensor mean = vectors.image + vectors.text.index_select(0, firsts);
    const auto r1 = [&](const at::Tensor& queries) {
      return percent(ranks(at::matmul(queries, others.t()).index_select(0, asked),
                           among.index_select(0, asked)) < 1);
    };
    metrics["fused_r1"] = r1(vectors.fused);
    metrics["mean_r1"] = r1(mean);
  }
  metrics["match_accuracy"] =
      0.5 * (percent(vectors.true_match > 0) + percent(vectors.false_match <= 0));
  metrics["cosine_accuracy"] = best_threshold_accuracy(vectors.true_cosine, vectors.false_cosine);
  return metrics;
}

}  // namespace bifocal::training
