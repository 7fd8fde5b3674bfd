#pragma once

#include <cstddef>
#include <span>

#include "training/evaluation/bootstrap.h"

namespace bifocal::training {

// The probability that a positive scores above a negative, a tie counted half: the area under the
// ROC curve. NaN where a side is empty.
double auroc(std::span<const float> positives, std::span<const float> negatives);

// The threshold with the highest accuracy where `score > threshold` says positive; the middle
// between two scores, or beyond all of them. Of equally good ones the lowest.
double best_threshold(std::span<const float> positives, std::span<const float> negatives);
double accuracy_at(double threshold, std::span<const float> positives,
                   std::span<const float> negatives);  // from 0 to 1

// Scores of true and false pairs; unit[i] is what pair i was drawn with (its image).
struct ScoredPairs {
  std::span<const float> positives, negatives;
  std::span<const std::size_t> positive_units, negative_units;
};
struct BinaryFigures {
  Estimate accuracy;  // percent; each half of the units at the threshold best for the other half
  Estimate auroc;     // percent
};
// Units are 0 to `units` - 1; the even ones are one half.
BinaryFigures binary_figures(const ScoredPairs& pairs, std::size_t units,
                             const BootstrapOptions& options = {});

}  // namespace bifocal::training
