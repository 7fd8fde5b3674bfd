#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <vector>

#include "nn/linear.h"
#include "nn/precision.h"
#include "vision/compiled_efficientnet.h"
#include "vision/efficientnet_weights.h"
#include "vision/mbconv.h"
#include "vision/scaling.h"

namespace bifocal::vision {

// The one definition of the family (Tan and Le 2019, 2021), trainable.
// Weights: stem.*, stages.S.L.* (MBConv), head.*, classifier.{weight [n, C], bias}.
class EfficientNetImpl : public torch::nn::Module {
 public:
  // Throws Error(kInvalidArgument) for a config that check() refuses.
  explicit EfficientNetImpl(EfficientNetConfig config);

  // float32 [B, 3, H, W], any H, W > 0. Throws Error(kInvalidArgument) for anything else.
  VisionOutput forward_features(const at::Tensor& pixels) const;
  at::Tensor forward(const at::Tensor& pixels) const;  // logits [B, num_classes]
  // [B, C] -> logits. Throws Error(kUnsupported) where there is no classifier.
  at::Tensor classify(const at::Tensor& pooled) const;

  // Batch norms folded, weights prepacked: what serves.
  CompiledEfficientNet compile(nn::Precision precision) const;

  EfficientNetWeights weights() const;  // shares this module's parameters
  const EfficientNetConfig& config() const noexcept { return config_; }

 private:
  EfficientNetConfig config_;
  ConvNormActModule stem_{nullptr}, head_{nullptr};
  std::vector<MBConv> blocks_;
  nn::Linear classifier_{nullptr};  // empty without classes
};
TORCH_MODULE(EfficientNet);

}  // namespace bifocal::vision
