#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "fusion/compiled_fusion_transformer.h"
#include "fusion/fusion_config.h"
#include "nn/encoder_layer_weights.h"
#include "nn/linear_weights.h"

namespace bifocal::fusion {

// What the fusion layer computes, once for the trainable module and for the compiled copy.

struct ProjectionWeights {
  nn::NormWeights norm;
  nn::LinearWeights dense;
  double dropout = 0.0;  // between norm and dense; 0 but in training

  at::Tensor forward(const at::Tensor& x) const;  // [..., in] -> [..., out]
  ProjectionWeights compiled(nn::Precision precision) const;
};

struct ClassHeadWeights {
  nn::LinearWeights context;                      // d -> labels, or the hidden size
  std::optional<ProjectionWeights> vision, text;  // of the pooled vectors; likewise
  std::optional<nn::LinearWeights> out;           // hidden size -> labels

  // [B, labels]. Throws Error(kInvalidArgument) where a pooled vector that is read is missing.
  at::Tensor forward(const FusionOutput& output) const;
  ClassHeadWeights compiled(nn::Precision precision) const;
};

// A tower's own vector in the shared space: b_v or b_t, [B, C or H] -> [B, e].
at::Tensor own_vector(const ProjectionWeights& projection, const at::Tensor& pooled);

struct FusionWeights {
  ProjectionWeights vision_projection, text_projection;  // to d
  at::Tensor fusion_token, vision_type, text_type;       // [d]
  at::Tensor vision_position;                            // [grid_height * grid_width, d]
  std::vector<nn::EncoderLayerWeights> layers;
  nn::NormWeights final_norm;  // pre-norm only
  nn::LinearWeights embedding_head;
  nn::MlpWeights match_head;
  std::vector<ClassHeadWeights> class_heads;
  // With a skip only:
  ProjectionWeights pooled_vision, pooled_text;  // to e
  at::Tensor pooled_mix;                         // [2]: image, text
  at::Tensor residual_gain;                      // [3]: image, text, both
  at::Tensor match_scale;                        // []: with match_cosine only

  FusionOutput forward(const FusionConfig& config, const FusionInput& input) const;
  // The steps of forward: c of the definition, [B, d], then everything that is made of it.
  at::Tensor context(const FusionConfig& config, const FusionInput& input) const;
  FusionOutput embed(const FusionConfig& config, const FusionInput& input,
                     at::Tensor context) const;
  at::Tensor match(const FusionConfig& config, const FusionOutput& both) const;
  at::Tensor classify(const FusionConfig& config, const FusionOutput& output,
                      std::size_t label_set) const;
  // What serves, for LibTorch's operators; and without projections and layers, where a FusionPlan
  // has them.
  FusionWeights compiled(const FusionConfig& config, nn::Precision precision) const;
  FusionWeights compiled_heads(const FusionConfig& config, nn::Precision precision) const;

 private:
  at::Tensor tokens(const FusionConfig& config, const FusionInput& input) const;
};

// Throws Error(kInvalidArgument) where both sides are absent or a shape is not the config's.
void check_input(const FusionConfig& config, const FusionInput& input);
// [h * w, d], or [B, n, d] of the cells that are given: the learned positions and the type of
// visual tokens, for the grid of the input.
at::Tensor visual_position(const FusionConfig& config, const FusionWeights& weights,
                           const FusionInput& input);

}  // namespace bifocal::fusion
