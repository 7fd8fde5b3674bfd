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
  // []: with match_late_interaction only. The first is a logarithm.
  at::Tensor late_attention_scale, late_gain;

  FusionOutput forward(const FusionConfig& config, const FusionInput& input) const;
  // The last step of forward: what is made of c of the definition, [B, d].
  FusionOutput embed(const FusionConfig& config, const FusionInput& input,
                     at::Tensor context) const;
  // Of projected tokens, before position and type, [B, n, d] and [B, L, d], and of which texts'
  // tokens are valid [B, L] (undefined: all) -> [B]: each token of the text attends to the image by
  // likeness (the cosine), and the mean over the text is of the likeness that it finds.
  at::Tensor late_interaction(const at::Tensor& image, const at::Tensor& text,
                              const at::Tensor& text_valid) const;
  // The same of every image with every text: [A, n, d], [B, L, d], [B, L] -> [A, B].
  at::Tensor late_interaction_of_all(const at::Tensor& image, const at::Tensor& text,
                                     const at::Tensor& text_valid) const;
  at::Tensor late_match(const at::Tensor& late_interaction) const;
  at::Tensor late_match(const FusionConfig& config, const FusionInput& both) const;
  at::Tensor match(const FusionConfig& config, const FusionOutput& both) const;
  at::Tensor classify(const FusionConfig& config, const FusionOutput& output,
                      std::size_t label_set) const;
  // What serves, for LibTorch's operators; and without projections and layers, where a FusionPlan
  // has them.
  FusionWeights compiled(const FusionConfig& config, nn::Precision precision) const;
  FusionWeights compiled_heads(const FusionConfig& config, nn::Precision precision) const;

 private:
  struct ProjectedTokens {  // before position and type; undefined where a side is absent
    at::Tensor image;       // [I, n, d]: of each distinct image
    at::Tensor text;        // [B, L, d]
  };
  ProjectedTokens project(const FusionInput& input) const;
  at::Tensor late_interaction(const FusionInput& input, const ProjectedTokens& projected) const;
  at::Tensor tokens(const FusionConfig& config, const FusionInput& input,
                    const ProjectedTokens& projected) const;
  at::Tensor context(const FusionConfig& config, const FusionInput& input,
                     const ProjectedTokens& projected) const;
  // Cosines [..., n] of a text's token with those of an image -> [...]: the one that it finds.
  at::Tensor found(const at::Tensor& likeness) const;
};

// Throws Error(kInvalidArgument) where both sides are absent or a shape is not the config's.
void check_input(const FusionConfig& config, const FusionInput& input);
// Whether the match logit will ask for the late interaction of the input.
bool has_late_interaction(const FusionConfig& config, const FusionInput& input);
// [h * w, d], or [B, n, d] of the cells that are given: the learned positions and the type of
// visual tokens, for the grid of the input.
at::Tensor visual_position(const FusionConfig& config, const FusionWeights& weights,
                           const FusionInput& input);

}  // namespace bifocal::fusion
