#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fusion/compiled_fusion_transformer.h"
#include "fusion/fusion_config.h"
#include "fusion/heads.h"
#include "nn/encoder_layer.h"
#include "nn/precision.h"

namespace bifocal::fusion {

struct FusionWeights;

// The fusion layer: projected tokens of both towers and a fusion token through an encoder; an
// absent side is left out, padding is masked. docs/fusion.md defines it and lists the weights'
// names. Dropout in training: between norm and linear layer of each projection, and in the encoder
// layers.
class FusionTransformerImpl : public torch::nn::Module {
 public:
  explicit FusionTransformerImpl(const FusionConfig& config);

  // Error(kInvalidArgument) where both sides are absent or a shape is not the config's.
  FusionOutput forward(const FusionInput& input) const;
  // Logits [B] of the text belonging to the image. Error(kInvalidArgument) without both sides.
  at::Tensor match(const FusionOutput& both) const;
  // Logits [B, labels]. Error(kNotFound) where there is no such label set.
  at::Tensor classify(const FusionOutput& output, std::size_t label_set) const;

  // The towers' own vectors alone, b_v and b_t [B, e], of pooled features [B, C] and [B, H]: what
  // is trained before there is a transformer. With a skip only.
  at::Tensor own_image_vector(const at::Tensor& pooled) const;
  at::Tensor own_text_vector(const at::Tensor& pooled) const;
  // What the late interaction of both sides adds to the match logit, [B]: no layer of the encoder
  // takes part. With match_late_interaction only. Throws as forward does, and without both sides.
  at::Tensor late_match(const FusionInput& both) const;
  // The same of every image with every text, [A, n, C], [B, L, H] and which of the texts' tokens
  // are valid [B, L] -> [A, B].
  at::Tensor late_match_of_all(const at::Tensor& image_tokens, const at::Tensor& text_tokens,
                               const at::Tensor& text_valid) const;

  CompiledFusionTransformer compile(nn::Precision precision) const;
  const FusionConfig& config() const noexcept { return config_; }
  // The logarithm of the scale of similarities in a contrastive loss; no part of forward().
  const at::Tensor& logit_scale() const noexcept { return logit_scale_; }

 private:
  FusionWeights weights() const;

  FusionConfig config_;
  Projection vision_projection_{nullptr}, text_projection_{nullptr};
  at::Tensor fusion_token_, vision_type_, text_type_;  // [d]
  at::Tensor vision_position_;                         // [grid_height * grid_width, d]
  std::vector<nn::EncoderLayer> layers_;
  torch::nn::LayerNorm final_norm_{nullptr};  // pre-norm only
  nn::Linear embedding_head_{nullptr};
  nn::Mlp match_head_{nullptr};
  ClassHeads class_heads_{nullptr};
  Projection pooled_vision_{nullptr}, pooled_text_{nullptr};  // with a skip only
  at::Tensor pooled_mix_, residual_gain_;                     // [2], [3]: with a skip only
  at::Tensor match_scale_;                                    // []: with match_cosine only
  at::Tensor late_attention_scale_, late_gain_;               // []: with match_late_interaction
  at::Tensor logit_scale_;                                    // []
};
TORCH_MODULE(FusionTransformer);

// Fresh weights from a seed, the same on every machine and, weight by weight, whatever others there
// are: truncated normal 0.02, norms one, biases zero, mix one, gains 0.1, logit_scale ln(1/0.07);
// with match_cosine or match_late_interaction the match head's last layer starts at zero;
// match_scale at 20, late_attention_scale at ln 10 and late_gain at 0.
void initialise(FusionTransformerImpl& module, std::uint64_t seed);

}  // namespace bifocal::fusion
