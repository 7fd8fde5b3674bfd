#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fusion/fusion_config.h"
#include "nn/encoder_layer.h"

namespace bifocal::fusion {

struct ProjectionWeights;

// Layer norm, then a linear layer: how a tower's tokens come to size d, and its pooled vector to
// the shared space. Weights: norm.*, dense.*.
class ProjectionImpl : public torch::nn::Module {
 public:
  ProjectionImpl(std::int64_t in, std::int64_t out, const FusionConfig& config);
  ProjectionWeights weights() const;

  torch::nn::LayerNorm norm{nullptr};
  torch::nn::Linear dense{nullptr};

 private:
  double dropout_;
};
TORCH_MODULE(Projection);

// A linear layer on the fusion token for each label set. Weights: <set>.{weight [labels, d], bias}.
class ClassHeadsImpl : public torch::nn::Module {
 public:
  explicit ClassHeadsImpl(const FusionConfig& config);
  std::vector<nn::LinearWeights> weights() const;

 private:
  std::vector<torch::nn::Linear> heads_;
};
TORCH_MODULE(ClassHeads);

}  // namespace bifocal::fusion
