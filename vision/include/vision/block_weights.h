#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "nn/precision.h"
#include "vision/conv_weights.h"

namespace bifocal::vision {

struct SqueezeExcitationWeights {
  at::Tensor reduce_weight, reduce_bias;  // [r, c], [r]
  at::Tensor expand_weight, expand_bias;  // [c, r], [c]
  ConvActivation activation = ConvActivation::kSilu;

  at::Tensor gate(const at::Tensor& x) const;  // [B, c, H, W] -> [B, c, 1, 1], to multiply x by
  SqueezeExcitationWeights compiled(nn::Precision precision) const;
};

// One block, whatever its kind: the parts it has, in order.
struct BlockWeights {
  std::optional<ConvNormAct> expand;  // 1x1, or k x k where fused
  std::optional<ConvNormAct> depthwise;
  std::optional<SqueezeExcitationWeights> se;
  ConvNormAct project;
  bool residual = false;
  double drop_connect = 0;  // 0 but in training
  bool in_place = false;    // forward() may take x's memory for its output: set by compiled()

  at::Tensor forward(const at::Tensor& x) const;
  BlockWeights compiled(nn::Precision precision) const;
};

}  // namespace bifocal::vision
