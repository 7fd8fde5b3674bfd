#pragma once

#include <cstdint>
#include <vector>

#include "training/evaluation/bundle_evaluation.h"

namespace bifocal::training {

struct ControlOptions {
  std::int64_t epochs = 20;
  std::int64_t batch_size = 256;  // contrasts
  double learning_rate = 1e-3;
  double weight_decay = 0.05;
  std::int64_t hidden_size = 512;
  std::uint64_t seed = 1;
};

// What a fusion layer has to beat on contrasts: trained on those of `train` with the loss that
// trains the match head, but shown the pooled vectors of both towers alone, standardised:
//  - "image alone", "text alone": an MLP on one of them; the first cannot but give both texts of a
//    contrast the same score, and is right half of the time;
//  - "two towers": a linear layer on each, and the cosine: embeddings trained on the same
//  contrasts;
//  - "pooled MLP": an MLP on both, their projections' product among its inputs.
// `measured` and `train` are encoded by the same bundle. Deterministic for a number of threads.
// Throws Error(kInvalidArgument) where either has no contrasts.
std::vector<BundleEvaluation::Control> contrast_controls(const BundleEvaluation& train,
                                                         const BundleEvaluation& measured,
                                                         const ControlOptions& options = {});

}  // namespace bifocal::training
