#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "training/class_examples.h"
#include "training/evaluation/class_section.h"
#include "training/trainable.h"

namespace bifocal::training {

// Logits [B, K] of what is shown, without dropout; on any device.
using LogitsOf = std::function<at::Tensor(const Shown& shown)>;

// Every example by its text alone, by its image alone (where it has them) and by what there is,
// each with the first of its texts and the plain view of its image. A side that no example has is
// left out; "fused" always comes last.
std::vector<ClassSide> class_sides(const ClassExamples& examples, const LogitsOf& logits);

// [N, K] float32: 1 where a label holds.
at::Tensor targets_of(const ClassSide& side);

// Percentages of "fused": "accuracy", "macro_f1" (or "mean_average_precision", "micro_f1",
// "macro_f1" where several labels may hold) and "loss", the negative log-likelihood; and where
// there are both sides, "accuracy_text" and "accuracy_image" (or "mean_average_precision_...").
Metrics class_metrics(const std::vector<ClassSide>& sides, bool multi_label);
// The metric that decides where the config names none.
const char* chief_class_metric(bool multi_label);

}  // namespace bifocal::training
