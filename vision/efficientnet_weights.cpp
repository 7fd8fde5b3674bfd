#include "vision/efficientnet_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>

#include "bifocal/error.h"

namespace bifocal::vision {

void check_pixels(const at::Tensor& pixels) {
  if (!pixels.defined() || pixels.dim() != 4 || pixels.size(1) != 3 || pixels.numel() == 0 ||
      pixels.scalar_type() != at::kFloat)
    throw Error(ErrorCode::kInvalidArgument,
                "Pixels must be float32 of shape [images, 3, height, width]");
}

VisionOutput EfficientNetWeights::forward_features(const at::Tensor& pixels) const {
  return forward_from(forward_blocks(pixels, blocks.size()), blocks.size());
}

at::Tensor EfficientNetWeights::forward_blocks(const at::Tensor& pixels, std::size_t count) const {
  check_pixels(pixels);
  at::Tensor x = stem.forward(pixels.contiguous(at::MemoryFormat::ChannelsLast));
  for (std::size_t i = 0; i < count; ++i) x = blocks[i].forward(x);
  return x;
}

VisionOutput EfficientNetWeights::forward_from(const at::Tensor& map, std::size_t count) const {
  at::Tensor x = map;
  for (std::size_t i = count; i < blocks.size(); ++i) x = blocks[i].forward(x);
  x = head.forward(x);  // [B, C, h, w]
  const std::int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  // In channels-last memory this is a view: a token is a pixel's channels.
  const at::Tensor tokens = x.permute({0, 2, 3, 1}).reshape({batch, height * width, channels});
  return {tokens, tokens.mean(1), height, width};
}

at::Tensor EfficientNetWeights::classify(const at::Tensor& pooled) const {
  if (!classifier_weight.defined())
    throw Error(ErrorCode::kUnsupported, "this encoder was built without a classifier");
  return at::linear(pooled, classifier_weight, classifier_bias);
}

EfficientNetWeights EfficientNetWeights::compiled(nn::Precision precision) const {
  EfficientNetWeights copy = compiled_classifier();
  copy.stem = stem.compiled(precision);
  for (const BlockWeights& block : blocks) copy.blocks.push_back(block.compiled(precision));
  copy.head = head.compiled(precision);
  return copy;
}

EfficientNetWeights EfficientNetWeights::compiled_classifier() const {
  EfficientNetWeights copy;
  if (classifier_weight.defined()) {
    copy.classifier_weight = classifier_weight.detach().clone();
    copy.classifier_bias = classifier_bias.detach().clone();
  }
  return copy;
}

}  // namespace bifocal::vision
