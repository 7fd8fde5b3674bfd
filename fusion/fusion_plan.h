#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>

#include "fusion_weights.h"
#include "nn/cpu/kernels.h"
#include "nn/encoder_plan.h"

namespace bifocal::fusion {

// The fusion layer up to its context, compiled for kernels of ours. Items lie end to end, each with
// its fusion token, its visual tokens and its valid text tokens; the bits of an item's context
// depend on that item alone. Immutable; thread-safe.
class FusionPlan {
 public:
  // The weights are copied.
  FusionPlan(const FusionConfig& config, const FusionWeights& weights,
             const nn::cpu::Kernels& kernels);

  // Checked input -> [B, d]. `position` [h * w, d] is that of the visual grid at hand; undefined
  // without an image.
  at::Tensor context(const FusionInput& input, const at::Tensor& position) const;

 private:
  struct Projection {
    nn::PackedNorm norm;
    nn::PackedLinear dense;
  };
  void project(const Projection& projection, std::int64_t rows, const float* tokens,
               const float* added, std::ptrdiff_t added_stride, float* x,
               std::ptrdiff_t stride) const;

  std::int64_t hidden_size_;
  bool has_final_norm_;
  Projection vision_, text_;
  const float* fusion_token_ = nullptr;  // [d]
  const float* text_type_ = nullptr;     // [d]
  nn::PackedNorm final_norm_;
  nn::WeightArena tables_;
  nn::EncoderPlan layers_;
};

}  // namespace bifocal::fusion
