#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "nn/precision.h"

namespace bifocal::fusion {

// What the towers gave; a side is absent where its tensors are undefined. At least one is there.
struct FusionInput {
  at::Tensor vision_tokens;  // [B, h * w, C]
  at::Tensor vision_pooled;  // [B, C]
  std::int64_t grid_height = 7;
  std::int64_t grid_width = 7;
  // Where only some of the map's tokens are given, as in training: which, row by row, [B, n] int64;
  // vision_tokens is then [B, n, C]. Not for the compiled form.
  at::Tensor vision_cells;
  // Where several items show one image, as in training: which, [B] int64; the tokens, the pooled
  // and the cells are then those of each distinct image, [I, ...], and are projected once.
  // Undefined: each item has its own. Not for the compiled form.
  at::Tensor vision_rows;
  at::Tensor text_tokens;  // [B, L, H]
  at::Tensor text_pooled;  // [B, H]
  at::Tensor text_valid;   // [B, L] bool or undefined
};

struct FusionOutput {
  at::Tensor context;           // [B, d]: the fusion token after the last norm
  at::Tensor embedding;         // [B, e], L2 norm 1
  at::Tensor vision;            // [B, e] b_v, undefined without an image or without skip
  at::Tensor text;              // [B, e] b_t, likewise
  at::Tensor late_interaction;  // [B], with match_late_interaction and both sides alone
  at::Tensor vision_pooled;     // [B, C], [B, H]: the input's own, which class heads may read
  at::Tensor text_pooled;
};

struct FusionConfig;
struct FusionWeights;

// A fusion layer packed to serve: by kernels of ours (nn::choose_kernels), then an item's vectors
// have the same bits whatever items stand beside it; or by LibTorch's operators. Immutable;
// thread-safe; no autograd. Agrees with the module in eval mode to 1e-4 relative.
class CompiledFusionTransformer {
 public:
  ~CompiledFusionTransformer();
  CompiledFusionTransformer(CompiledFusionTransformer&&) noexcept;
  CompiledFusionTransformer& operator=(CompiledFusionTransformer&&) noexcept;
  FusionOutput forward(const FusionInput& input) const;
  at::Tensor match(const FusionOutput& both) const;
  at::Tensor classify(const FusionOutput& output, std::size_t label_set) const;

 private:
  friend class FusionTransformerImpl;
  struct Packed;
  CompiledFusionTransformer(const FusionConfig& config, const FusionWeights& weights,
                            nn::Precision precision);
  std::unique_ptr<const Packed> packed_;
};

}  // namespace bifocal::fusion
