#include "training/class_metrics.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <string>
#include <tuple>

#include "training/class_loss.h"
#include "training/evaluation/classes.h"
#include "training/evaluation/encoded_set.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kTogether = 64;

at::Tensor in_batches(const Shown& shown, const LogitsOf& logits) {
  std::vector<at::Tensor> parts;
  for (std::size_t begin = 0; begin < shown.image.size(); begin += kTogether) {
    const auto first = static_cast<std::ptrdiff_t>(begin);
    const auto last = static_cast<std::ptrdiff_t>(std::min(begin + kTogether, shown.image.size()));
    parts.push_back(logits({{shown.image.begin() + first, shown.image.begin() + last},
                            {shown.text.begin() + first, shown.text.begin() + last}}));
  }
  return at::cat(parts).cpu().contiguous();
}

}  // namespace

at::Tensor targets_of(const ClassSide& side) {
  at::Tensor targets = at::zeros(side.logits.sizes());
  auto* row = targets.mutable_data_ptr<float>();
  for (const std::vector<std::size_t>& labels : side.truth) {
    for (const std::size_t c : labels) row[c] = 1;
    row += targets.size(1);
  }
  return targets;
}

std::vector<ClassSide> class_sides(const ClassExamples& examples, const LogitsOf& logits) {
  const c10::NoGradGuard no_grad;
  std::vector<ClassSide> sides;
  for (const auto& [name, use_image, use_text] : {std::tuple("text alone", false, true),
                                                  {"image alone", true, false},
                                                  {"fused", true, true}}) {
    ClassSide side{name, {}, {}};
    Shown shown;
    for (std::size_t i = 0; i < examples.size(); ++i) {
      const std::int64_t image = use_image ? examples.image_row[i] : kNotShown;
      const std::int64_t text =
          use_text && examples.has_text(i) ? examples.first_text[i] : kNotShown;
      if (image == kNotShown && text == kNotShown) continue;
      shown.image.push_back(image);
      shown.text.push_back(text);
      side.truth.push_back(examples.truth(i));
    }
    if (shown.image.empty()) continue;
    side.logits = in_batches(shown, logits);
    sides.push_back(std::move(side));
  }
  return sides;
}

Metrics class_metrics(const std::vector<ClassSide>& sides, bool multi_label) {
  constexpr BootstrapOptions kNoIntervals{0, 0.95, 1};
  Metrics metrics;
  for (const ClassSide& side : sides) {
    const bool fused = &side == &sides.back();
    const std::string suffix =
        fused ? "" : "_" + side.name.substr(0, side.name.find(' '));  // "_text", "_image"
    if (!fused && sides.size() < 3) continue;                         // the same as fused
    const at::Tensor probabilities = class_probabilities(side.logits, multi_label);
    if (multi_label) {
      const MultiLabelFigures figures =
          multi_label_figures(as_matrix(probabilities), side.truth, 0.5, kNoIntervals);
      metrics["mean_average_precision" + suffix] = figures.mean_average_precision.value;
      metrics["micro_f1" + suffix] = figures.micro_f1.value;
      metrics["macro_f1" + suffix] = figures.macro_f1.value;
    } else {
      std::vector<std::size_t> one;
      for (const auto& labels : side.truth) one.push_back(labels.front());
      const ClassificationFigures figures =
          classification_figures(as_matrix(probabilities), one, kNoIntervals);
      metrics["accuracy" + suffix] = figures.top_1.value;
      metrics["macro_f1" + suffix] = figures.macro_f1.value;
    }
    if (!fused) continue;
    metrics["loss"] =
        class_loss(side.logits, targets_of(side), {multi_label, 0, {}}).item<double>();
  }
  return metrics;
}

const char* chief_class_metric(bool multi_label) {
  return multi_label ? "mean_average_precision" : "accuracy";
}

}  // namespace bifocal::training
