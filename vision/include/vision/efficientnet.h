#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "nn/precision.h"
#include "vision/compiled_efficientnet.h"
#include "vision/mbconv.h"
#include "vision/scaling.h"

namespace bifocal::vision {

// The one definition of the family (Tan and Le 2019, 2021), trainable.
class EfficientNetImpl : public torch::nn::Module {
 public:
  explicit EfficientNetImpl(EfficientNetConfig config);

  VisionOutput forward_features(const at::Tensor& pixels);  // [B, 3, H, W], any H, W >= 32
  at::Tensor forward(const at::Tensor& pixels);             // logits [B, num_classes]
  at::Tensor classify(const at::Tensor& pooled);            // [B, C] -> logits

  // Batch norms folded, weights prepacked: what serves.
  CompiledEfficientNet compile(nn::Precision precision) const;

  const EfficientNetConfig& config() const noexcept { return config_; }

 private:
  EfficientNetConfig config_;
  // the implementation's submodules
};
TORCH_MODULE(EfficientNet);

}  // namespace bifocal::vision
