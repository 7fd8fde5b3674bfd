#include "training/class_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/log_sigmoid.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

namespace bifocal::training {

at::Tensor class_loss(const at::Tensor& logits, const at::Tensor& given, const ClassLoss& loss,
                      const ProcessGroup& group) {
  const at::Tensor targets = given.to(logits.device());
  const at::Tensor weights =
      loss.weights.defined() ? loss.weights.to(logits.device()) : at::Tensor();
  const double spread =
      loss.smoothing / (loss.multi_label ? 2.0 : static_cast<double>(targets.size(1)));
  const at::Tensor t = loss.smoothing > 0 ? targets * (1 - loss.smoothing) + spread : targets;
  const at::Tensor weighted = weights.defined() ? t * weights : t;
  if (loss.multi_label)
    return -(weighted * at::log_sigmoid(logits) + (1 - t) * at::log_sigmoid(-logits)).mean();
  at::Tensor total = (weights.defined() ? targets * weights : targets).sum();
  group.sum(total);
  return -(weighted * at::log_softmax(logits, 1)).sum() * static_cast<double>(group.size()) / total;
}

at::Tensor balanced_weights(const at::Tensor& targets, bool multi_label) {
  constexpr double kLargest = 100;
  const auto records = static_cast<double>(targets.size(0));
  const at::Tensor held = targets.sum(0);  // [K]
  const at::Tensor some = at::clamp(held, 1);
  const at::Tensor weights = multi_label
                                 ? at::clamp((records - held) / some, 1 / kLargest, kLargest)
                                 : records / (some * static_cast<double>(targets.size(1)));
  return at::where(held > 0, weights, at::ones_like(weights));
}

}  // namespace bifocal::training
