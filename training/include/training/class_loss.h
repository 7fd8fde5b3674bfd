#pragma once

#include <ATen/core/Tensor.h>

#include "training/process_group.h"

namespace bifocal::training {

struct ClassLoss {
  bool multi_label = false;
  double smoothing = 0;  // of targets: (1 - s) t + s / K, or + s / 2 where several labels may hold
  at::Tensor weights;    // [K] of the classes; undefined: all 1
};

// Cross-entropy with soft targets, [B, K] each -> []. One label holds: softmax, each class's term
// weighted, over the sum of the targets' weights (PyTorch's cross_entropy of class indices). Any
// hold: the mean of binary cross-entropies, the positive term weighted (its pos_weight). Rows are
// those of one rank; the mean over the ranks is the loss of the whole batch. Computed where the
// logits are.
at::Tensor class_loss(const at::Tensor& logits, const at::Tensor& targets, const ClassLoss& loss,
                      const ProcessGroup& group = ProcessGroup());

// By how often a class holds in targets [N, K] of 0 and 1: N / (K n_c) where one label holds (as
// scikit-learn's "balanced"), else (N - n_c) / n_c, at most 100. A class without records has 1.
at::Tensor balanced_weights(const at::Tensor& targets, bool multi_label);

}  // namespace bifocal::training
