#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fusion/fusion_config.h"
#include "nn/encoder_layer.h"
#include "nn/linear.h"

namespace bifocal::fusion {

struct ProjectionWeights;
struct ClassHeadWeights;

// Layer norm, then a linear layer: how a tower's tokens come to size d, and its pooled vector to
// the shared space. Weights: norm.*, dense.*.
class ProjectionImpl : public torch::nn::Module {
 public:
  ProjectionImpl(std::int64_t in, std::int64_t out, double layer_norm_eps, double dropout);
  ProjectionWeights weights() const;

  torch::nn::LayerNorm norm{nullptr};
  nn::Linear dense{nullptr};

 private:
  double dropout_;
};
TORCH_MODULE(Projection);

// Logits of one label set from the fusion token, and from the pooled vectors where the set reads
// them. Weights: weight [n, d] and bias, n being the labels, or the hidden size of an MLP; with
// `pooled`, vision.* and text.* (Projection to n); with a hidden size, out.{weight [labels, n],
// bias}.
class ClassHeadImpl : public nn::LinearImpl {
 public:
  ClassHeadImpl(const LabelSet& set, const FusionConfig& config);
  ClassHeadWeights head_weights() const;

 private:
  Projection vision_{nullptr}, text_{nullptr};
  nn::Linear out_{nullptr};
};
TORCH_MODULE(ClassHead);

// One for each label set, under its name.
class ClassHeadsImpl : public torch::nn::Module {
 public:
  explicit ClassHeadsImpl(const FusionConfig& config);
  std::vector<ClassHeadWeights> weights() const;

 private:
  std::vector<ClassHead> heads_;
};
TORCH_MODULE(ClassHeads);

}  // namespace bifocal::fusion
