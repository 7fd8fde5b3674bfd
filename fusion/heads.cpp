#include "fusion/heads.h"

#include "fusion_weights.h"

namespace bifocal::fusion {

ProjectionImpl::ProjectionImpl(std::int64_t in, std::int64_t out, double layer_norm_eps,
                               double dropout)
    : dropout_(dropout) {
  norm = register_module(
      "norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({in}).eps(layer_norm_eps)));
  dense = register_module("dense", nn::Linear(in, out));
}

ProjectionWeights ProjectionImpl::weights() const {
  return {nn::weights_of(norm), nn::weights_of(dense), is_training() ? dropout_ : 0.0};
}

namespace {

std::int64_t labels_of(const LabelSet& set) { return static_cast<std::int64_t>(set.labels.size()); }

std::int64_t first_size_of(const LabelSet& set) {
  return set.hidden_size > 0 ? set.hidden_size : labels_of(set);
}

}  // namespace

ClassHeadImpl::ClassHeadImpl(const LabelSet& set, const FusionConfig& config)
    : nn::LinearImpl(config.hidden_size, first_size_of(set)) {
  if (set.pooled) {
    vision_ = register_module("vision", Projection(config.vision_channels, first_size_of(set),
                                                   config.layer_norm_eps, config.dropout));
    text_ = register_module("text", Projection(config.text_hidden_size, first_size_of(set),
                                               config.layer_norm_eps, config.dropout));
  }
  if (set.hidden_size > 0)
    out_ = register_module("out", nn::Linear(set.hidden_size, labels_of(set)));
}

ClassHeadWeights ClassHeadImpl::head_weights() const {
  ClassHeadWeights head;
  head.context = nn::LinearWeights(weight, bias);
  if (vision_) head.vision = vision_->weights();
  if (text_) head.text = text_->weights();
  if (out_) head.out = nn::weights_of(out_);
  return head;
}

ClassHeadsImpl::ClassHeadsImpl(const FusionConfig& config) {
  for (const LabelSet& set : config.label_sets) {
    heads_.push_back(register_module(set.name, ClassHead(set, config)));
  }
}

std::vector<ClassHeadWeights> ClassHeadsImpl::weights() const {
  std::vector<ClassHeadWeights> weights;
  for (const ClassHead& head : heads_) weights.push_back(head->head_weights());
  return weights;
}

}  // namespace bifocal::fusion
