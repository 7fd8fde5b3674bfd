#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

#include "nn/encoder_layer_config.h"
#include "nn/encoder_layer_weights.h"
#include "nn/linear.h"

namespace bifocal::nn {

// The trainable forms of encoder_layer_weights.h. weights() gives the parameters as they are now,
// with autograd, and dropout where the module is in training.

LinearWeights weights_of(const Linear& linear);
NormWeights weights_of(const torch::nn::LayerNorm& norm);

// Weights: qkv.{weight [3d, d], bias}, out.{weight [d, d], bias}; head size d /
// num_attention_heads.
class SelfAttentionImpl : public torch::nn::Module {
 public:
  explicit SelfAttentionImpl(const EncoderLayerConfig& config);

  // x [B, S, d], valid [B, S] bool (true: a real token) or undefined for all -> [B, S, d].
  at::Tensor forward(const at::Tensor& x, const at::Tensor& valid) const;
  // The output at the first position alone, exactly: [B, 1, d].
  at::Tensor forward_first(const at::Tensor& x, const at::Tensor& valid) const;
  AttentionWeights weights() const;

  Linear qkv{nullptr}, out{nullptr};

 private:
  std::int64_t heads_;
  double dropout_;
};
TORCH_MODULE(SelfAttention);

// fc2(activation(fc1(x))); weights fc1.*, fc2.*.
class MlpImpl : public torch::nn::Module {
 public:
  MlpImpl(std::int64_t in, std::int64_t hidden, std::int64_t out, Activation activation);
  at::Tensor forward(const at::Tensor& x) const;  // [..., in] -> [..., out]
  MlpWeights weights() const;

  Linear fc1{nullptr}, fc2{nullptr};

 private:
  Activation activation_;
};
TORCH_MODULE(Mlp);

// One transformer encoder layer: attention and MLP, each with residual and layer norm, the norm
// after (post) or before (pre). Weights: attention.*, attention_norm.*, mlp.fc1.*, mlp.fc2.*,
// mlp_norm.*.
class EncoderLayerImpl : public torch::nn::Module {
 public:
  // Throws Error(kInvalidArgument) where a size is not positive or the heads do not divide d.
  explicit EncoderLayerImpl(const EncoderLayerConfig& config);

  at::Tensor forward(const at::Tensor& x, const at::Tensor& valid) const;        // [B, S, d]
  at::Tensor forward_first(const at::Tensor& x, const at::Tensor& valid) const;  // [B, 1, d]
  EncoderLayerWeights weights() const;

  const EncoderLayerConfig& config() const noexcept { return config_; }

  SelfAttention attention{nullptr};
  torch::nn::LayerNorm attention_norm{nullptr}, mlp_norm{nullptr};
  Mlp mlp{nullptr};

 private:
  EncoderLayerConfig config_;
};
TORCH_MODULE(EncoderLayer);

}  // namespace bifocal::nn
