#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "nn/precision.h"
#include "vision/scaling.h"

namespace bifocal::vision {

struct Conv2dGeometry {
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t groups = 1;
  Padding padding = Padding::kSame;
};

// What a layer computes is written once, on the structs of this header and of block_weights.h. A
// trainable module hands them its own parameters, so that gradients and batch statistics flow; a
// compiled model keeps the copy that compiled() makes, batch norm folded.
//
// Convolution, batch norm (absent once folded), activation (absent after a projection).
struct ConvNormAct {
  Conv2dGeometry geometry;
  at::Tensor weight;  // [out, in / groups, k, k]
  at::Tensor bias;    // [out]; undefined until batch norm is folded
  struct BatchNorm {
    at::Tensor weight, bias, running_mean, running_var;  // [out]
    double eps = 1e-3;
    double momentum = 0.01;
    bool training = false;
  };
  std::optional<BatchNorm> norm;
  std::optional<ConvActivation> activation;
  bool packed = false;  // the weights are in oneDNN's own layout
  // The same convolution for an input that SAME pads by one more after than before: see compiled().
  at::Tensor shifted_weight;  // [out, in / groups, k + 1, k + 1], or undefined

  at::Tensor forward(const at::Tensor& x) const;  // [B, in, H, W] -> [B, out, H / s, W / s]
  // sum += forward(x), in one pass where packed. For a compiled convolution without activation.
  void add_to(at::Tensor& sum, const at::Tensor& x) const;
  // A copy without autograd, batch norm folded into weight and bias.
  ConvNormAct folded() const;
  // folded() and packed for oneDNN; for use under c10::InferenceMode on channels-last maps.
  ConvNormAct compiled(nn::Precision precision) const;
};

at::Tensor activate(const at::Tensor& x, ConvActivation activation);

}  // namespace bifocal::vision
