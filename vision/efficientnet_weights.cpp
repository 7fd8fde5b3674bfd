#include "vision/efficientnet_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/linear.h>

#include "bifocal/error.h"

namespace bifocal::vision {
namespace {

// [B, c, H, W] -> [B, ceil(H / fold) * ceil(W / fold), fold * fold * c], with memory of its own.
at::Tensor space_to_depth(const at::Tensor& map, std::int64_t fold) {
  const std::int64_t batch = map.size(0), channels = map.size(1);
  const std::int64_t height = (map.size(2) + fold - 1) / fold;
  const std::int64_t width = (map.size(3) + fold - 1) / fold;
  return at::constant_pad_nd(map, {0, width * fold - map.size(3), 0, height * fold - map.size(2)})
      .permute({0, 2, 3, 1})
      .reshape({batch, height, fold, width, fold, channels})
      .transpose(2, 3)
      .reshape({batch, height * width, fold * fold * channels})
      .clone();
}

}  // namespace

void check_pixels(const at::Tensor& pixels) {
  if (!pixels.defined() || pixels.dim() != 4 || pixels.size(1) != 3 || pixels.numel() == 0 ||
      pixels.scalar_type() != at::kFloat)
    throw Error(ErrorCode::kInvalidArgument,
                "Pixels must be float32 of shape [images, 3, height, width]");
}

VisionOutput EfficientNetWeights::forward_features(const at::Tensor& pixels) const {
  return forward_from(forward_blocks(pixels, 0), 0);
}

at::Tensor EfficientNetWeights::forward_blocks(const at::Tensor& pixels, std::size_t count) const {
  check_pixels(pixels);
  at::Tensor x = stem.forward(pixels.contiguous(at::MemoryFormat::ChannelsLast));
  for (std::size_t i = 0; i < count; ++i) x = blocks[i].forward(x);
  return x;
}

VisionOutput EfficientNetWeights::forward_from(const at::Tensor& map, std::size_t count) const {
  if (detail_blocks > 0 && count > detail_blocks)
    throw Error(ErrorCode::kInternal, "the tokens' detail lies below the map that is begun with");
  at::Tensor x = map, detail;
  for (std::size_t i = count;; ++i) {
    // Copied here: what comes after may write where the map is.
    if (detail_blocks > 0 && i == detail_blocks) detail = space_to_depth(x, detail_fold);
    if (i == blocks.size()) break;
    x = blocks[i].forward(x);
  }
  x = head.forward(x);  // [B, C, h, w]
  const std::int64_t batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  // In channels-last memory this is a view: a token is a pixel's channels.
  const at::Tensor tokens = x.permute({0, 2, 3, 1}).reshape({batch, height * width, channels});
  return {detail.defined() ? at::cat({tokens, detail}, 2) : tokens, tokens.mean(1), height, width};
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
  copy.detail_blocks = detail_blocks;
  copy.detail_fold = detail_fold;
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
