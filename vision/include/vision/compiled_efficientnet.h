#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "nn/cpu/kernels.h"

namespace bifocal::vision {

class EfficientNetPlan;
struct EfficientNetWeights;

struct VisionOutput {
  // [B, h * w, C + detail_channels()]: the map after the head convolution, row by row, and beside
  // it that of a finer stage where the config has a detail_stage.
  at::Tensor tokens;
  at::Tensor pooled;             // [B, C]: the mean of the head's map
  std::int64_t grid_height = 0;  // h, w: 7 x 7 for 224 pixels
  std::int64_t grid_width = 0;
};

// Immutable; thread-safe; no autograd. Agrees with the module in eval mode to 1e-4 relative, or as
// closely as bfloat16 products do.
class CompiledEfficientNet {
 public:
  // A copy of the network's weights, packed for `kernels`: no operator is dispatched in a pass, and
  // an image has the same bits alone and in any batch. Null: LibTorch's operators, in fp32.
  CompiledEfficientNet(const EfficientNetWeights& network, const nn::cpu::Kernels* kernels);
  ~CompiledEfficientNet();
  CompiledEfficientNet(CompiledEfficientNet&&) noexcept;
  CompiledEfficientNet& operator=(CompiledEfficientNet&&) noexcept;

  // float32 [B, 3, H, W], any H, W > 0. Throws Error(kInvalidArgument) for anything else.
  VisionOutput forward_features(const at::Tensor& pixels) const;
  // [B, C] -> logits. Throws Error(kUnsupported) where there is no classifier.
  at::Tensor classify(const at::Tensor& pooled) const;

 private:
  std::unique_ptr<const EfficientNetWeights> weights_;  // with a plan, the classifier's alone
  std::unique_ptr<const EfficientNetPlan> plan_;        // null: weights_ serve
};

}  // namespace bifocal::vision
