#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

namespace bifocal::vision {

struct EfficientNetWeights;

struct VisionOutput {
  at::Tensor tokens;             // [B, h * w, C]: the map after the head convolution, row by row
  at::Tensor pooled;             // [B, C]: its mean
  std::int64_t grid_height = 0;  // h, w: 7 x 7 for 224 pixels
  std::int64_t grid_width = 0;
};

// Immutable; thread-safe; no autograd. Agrees with the module in eval mode to 1e-4 relative.
class CompiledEfficientNet {
 public:
  explicit CompiledEfficientNet(EfficientNetWeights weights);  // compiled ones
  ~CompiledEfficientNet();
  CompiledEfficientNet(CompiledEfficientNet&&) noexcept;
  CompiledEfficientNet& operator=(CompiledEfficientNet&&) noexcept;

  // float32 [B, 3, H, W], any H, W > 0. Throws Error(kInvalidArgument) for anything else.
  VisionOutput forward_features(const at::Tensor& pixels) const;
  // [B, C] -> logits. Throws Error(kUnsupported) where there is no classifier.
  at::Tensor classify(const at::Tensor& pooled) const;

 private:
  std::unique_ptr<const EfficientNetWeights> weights_;
};

}  // namespace bifocal::vision
