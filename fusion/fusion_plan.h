#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>

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

  // Is shown an item's projected tokens, before position and type, [n, d] and [L, d]: views that
  // end with the call.
  using Projected =
      std::function<void(std::int64_t item, const at::Tensor& image, const at::Tensor& text)>;

  // Checked input -> [B, d]. `position` [h * w, d] is that of the visual grid at hand; undefined
  // without an image. `projected` may be empty; if not, both sides are there.
  at::Tensor context(const FusionInput& input, const at::Tensor& position,
                     const Projected& projected) const;

 private:
  struct Projection {
    nn::PackedNorm norm;
    nn::PackedLinear dense;
  };
  struct Added {  // a row for each row, or with a stride of 0 one for all; null: nothing
    const float* rows = nullptr;
    std::ptrdiff_t stride = 0;
  };
  void project(const Projection& projection, std::int64_t rows, const float* tokens,
               const Added& added, float* x, std::ptrdiff_t stride) const;
  void add(const Added& added, std::int64_t rows, float* x, std::ptrdiff_t stride) const;

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
