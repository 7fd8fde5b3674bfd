#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "nn/encoder_layer_config.h"
#include "nn/linear_weights.h"
#include "nn/precision.h"

namespace bifocal::nn {

// Multi-head self-attention over all positions (Vaswani et al. 2017).
struct AttentionWeights {
  LinearWeights qkv;  // d -> 3d: queries, keys, values
  LinearWeights out;  // d -> d
  std::int64_t num_attention_heads = 1;
  double dropout = 0.0;  // of the attention weights; 0 but in training

  // x [B, S, d], valid [B, S] bool (true: a real token) or undefined for all -> [B, S, d]. An
  // invalid position is never attended to.
  at::Tensor forward(const at::Tensor& x, const at::Tensor& valid) const;
  // The output at the first position alone, exactly: [B, 1, d].
  at::Tensor forward_first(const at::Tensor& x, const at::Tensor& valid) const;
  AttentionWeights compiled(Precision precision) const;
};

// fc2(activation(fc1(x))).
struct MlpWeights {
  LinearWeights fc1, fc2;
  Activation activation = Activation::kGeluErf;

  at::Tensor forward(const at::Tensor& x) const;  // [..., in] -> [..., out]
  MlpWeights compiled(Precision precision) const;
};

// One transformer encoder layer: attention and MLP, each with residual and layer norm, the norm
// after (post) or before (pre). Thread-safe.
struct EncoderLayerWeights {
  AttentionWeights attention;
  NormWeights attention_norm, mlp_norm;
  MlpWeights mlp;
  NormPlacement norm = NormPlacement::kPost;
  double dropout = 0.0;  // of both residual branches; 0 but in training

  at::Tensor forward(const at::Tensor& x, const at::Tensor& valid) const;        // [B, S, d]
  at::Tensor forward_first(const at::Tensor& x, const at::Tensor& valid) const;  // [B, 1, d]
  // What serves: a copy without autograd or dropout, its linears packed; for c10::InferenceMode.
  EncoderLayerWeights compiled(Precision precision) const;
};

}  // namespace bifocal::nn
