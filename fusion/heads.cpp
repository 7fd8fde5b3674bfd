#include "fusion/heads.h"

#include "fusion_weights.h"

namespace bifocal::fusion {

ProjectionImpl::ProjectionImpl(std::int64_t in, std::int64_t out, const FusionConfig& config)
    : dropout_(config.dropout) {
  norm = register_module(
      "norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({in}).eps(config.layer_norm_eps)));
  dense = register_module("dense", torch::nn::Linear(in, out));
}

ProjectionWeights ProjectionImpl::weights() const {
  return {nn::weights_of(norm), nn::weights_of(dense), is_training() ? dropout_ : 0.0};
}

ClassHeadsImpl::ClassHeadsImpl(const FusionConfig& config) {
  for (const LabelSet& set : config.label_sets) {
    const auto labels = static_cast<std::int64_t>(set.labels.size());
    heads_.push_back(register_module(set.name, torch::nn::Linear(config.hidden_size, labels)));
  }
}

std::vector<nn::LinearWeights> ClassHeadsImpl::weights() const {
  std::vector<nn::LinearWeights> weights;
  for (const torch::nn::Linear& head : heads_) weights.push_back(nn::weights_of(head));
  return weights;
}

}  // namespace bifocal::fusion
