#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

#include "nn/precision.h"
#include "vision/block_weights.h"
#include "vision/compiled_efficientnet.h"
#include "vision/conv_weights.h"

namespace bifocal::vision {

// The whole network as plain weights: what the trainable module and the compiled one both run.
struct EfficientNetWeights {
  ConvNormAct stem;
  std::vector<BlockWeights> blocks;
  ConvNormAct head;
  at::Tensor classifier_weight, classifier_bias;  // [n, C], [n]; undefined without classes
  std::size_t detail_blocks = 0;  // after which the tokens' detail is taken; 0: none
  std::int64_t detail_fold = 1;

  VisionOutput forward_features(const at::Tensor& pixels) const;  // [B, 3, H, W]
  // The same in two parts: the map after the stem and the first `count` blocks, and what the blocks
  // above and the head make of it. `count` is at most detail_blocks where there are such.
  at::Tensor forward_blocks(const at::Tensor& pixels, std::size_t count) const;  // [B, c, h, w]
  VisionOutput forward_from(const at::Tensor& map, std::size_t count) const;
  at::Tensor classify(const at::Tensor& pooled) const;  // [B, C] -> [B, n]
  EfficientNetWeights compiled(nn::Precision precision) const;
  EfficientNetWeights compiled_classifier() const;  // of compiled(), the classifier alone
};

// Throws Error(kInvalidArgument) for what is not float32 [B, 3, H, W] with pixels in it.
void check_pixels(const at::Tensor& pixels);

}  // namespace bifocal::vision
