#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <string>
#include <vector>

#include "fusion/fusion_config.h"
#include "training/evaluation/bootstrap.h"
#include "training/evaluation/section.h"

namespace bifocal::training {

// What a model said of some records, shown one side of them or both.
struct ClassSide {
  std::string name;                             // "text alone", "image alone", "fused"
  at::Tensor logits;                            // [N, C] float32
  std::vector<std::vector<std::size_t>> truth;  // [N]: labels, each < C
};

// [N, C]: softmax, or the sigmoid of each where a record may have several labels.
at::Tensor class_probabilities(const at::Tensor& logits, bool multi_label);

// The figures of each side, a row each; per class, and the confusion matrix, in the details.
Section class_section(const fusion::LabelSet& set, const std::vector<ClassSide>& sides,
                      const BootstrapOptions& options);

}  // namespace bifocal::training
