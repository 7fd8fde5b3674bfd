#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nn/cpu/kernels.h"
#include "nn/weight_arena.h"
#include "vision/efficientnet_weights.h"
#include "vision/patches.h"

namespace bifocal::vision {

// An EfficientNet of any shape, compiled for one table of kernels: batch norms folded, weights
// packed in the order of their use, no dispatch of operators in a pass and no allocation (but a
// thread's first pass of a size). Immutable; thread-safe.
class EfficientNetPlan {
 public:
  // The weights are copied. With kernels of bf16, what products and depthwise convolutions take is
  // rounded to it; sums, residuals, gates and the tokens stay float32.
  EfficientNetPlan(const EfficientNetWeights& network, const nn::cpu::Kernels& kernels);

  Grid grid(const Grid& image) const noexcept;  // of tokens
  std::int64_t channels() const noexcept { return head_.linear.columns; }
  std::int64_t token_channels() const noexcept;  // channels(), and those of the detail

  // -> tokens [grid's pixels, token_channels] and the mean of the head's part of them, pooled
  // [channels]. The image has three channels and at least one pixel.
  void forward(const ImageView& image, float* tokens, float* pooled) const;

 private:
  // A convolution over all channels: the product with what the kernel sees at each pixel.
  struct Dense {
    nn::PackedLinear linear;  // [kernel * kernel * in, out]
    Conv2dGeometry geometry;
    std::optional<ConvActivation> activation;

    bool is_pointwise() const noexcept { return geometry.kernel == 1 && geometry.stride == 1; }
  };
  struct Depthwise {
    const float* weights = nullptr;  // [kernel * kernel, channels]
    const float* bias = nullptr;     // [channels]
    Conv2dGeometry geometry;
    std::optional<ConvActivation> activation;
  };
  struct SqueezeExcitation {
    nn::PackedLinear reduce, expand;
    ConvActivation activation = ConvActivation::kSilu;
  };
  struct Block {
    std::optional<Dense> expand;
    std::optional<Depthwise> depthwise;
    std::optional<SqueezeExcitation> se;
    Dense project;
    std::int64_t inner_channels =
        0;  // of what `project` takes, where that is not the block's input
    bool residual = false;

    // Whether rows can be projected as soon as they are expanded.
    bool streams() const noexcept { return expand && !depthwise && !se; }
  };
  class Pass;

  static Dense add_dense(nn::WeightArena& arena, const ConvNormAct& layer);
  static Depthwise add_depthwise(nn::WeightArena& arena, const ConvNormAct& layer);
  static Block add_block(nn::WeightArena& arena, const BlockWeights& weights);

  const nn::cpu::Kernels* kernels_;
  Dense stem_;
  std::vector<Block> blocks_;
  Dense head_;
  std::size_t detail_blocks_;  // as EfficientNetWeights has them
  std::int64_t detail_fold_;
  nn::WeightArena weights_;
};

}  // namespace bifocal::vision
