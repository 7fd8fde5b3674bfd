#include "nn/encoder_layer.h"

#include <string>

#include "bifocal/error.h"

namespace bifocal::nn {
namespace {

const EncoderLayerConfig& checked(const EncoderLayerConfig& config) {
  const bool positive =
      config.hidden_size > 0 && config.num_attention_heads > 0 && config.intermediate_size > 0;
  if (!positive || config.hidden_size % config.num_attention_heads != 0) {
    throw Error(
        ErrorCode::kInvalidArgument,
        "An encoder layer needs positive sizes and a hidden size that its heads divide; got "
        "hidden_size " +
            std::to_string(config.hidden_size) + ", num_attention_heads " +
            std::to_string(config.num_attention_heads) + ", intermediate_size " +
            std::to_string(config.intermediate_size));
  }
  return config;
}

torch::nn::LayerNorm layer_norm(const EncoderLayerConfig& config) {
  return torch::nn::LayerNorm(
      torch::nn::LayerNormOptions({config.hidden_size}).eps(config.layer_norm_eps));
}

}  // namespace

LinearWeights weights_of(const Linear& linear) { return {linear->weight, linear->bias}; }

NormWeights weights_of(const torch::nn::LayerNorm& norm) {
  return {norm->weight, norm->bias, norm->options.eps()};
}

SelfAttentionImpl::SelfAttentionImpl(const EncoderLayerConfig& config)
    : heads_(checked(config).num_attention_heads), dropout_(config.dropout) {
  const std::int64_t size = config.hidden_size;
  qkv = register_module("qkv", Linear(size, 3 * size));
  out = register_module("out", Linear(size, size));
}

at::Tensor SelfAttentionImpl::forward(const at::Tensor& x, const at::Tensor& valid) const {
  return weights().forward(x, valid);
}

at::Tensor SelfAttentionImpl::forward_first(const at::Tensor& x, const at::Tensor& valid) const {
  return weights().forward_first(x, valid);
}

AttentionWeights SelfAttentionImpl::weights() const {
  return {weights_of(qkv), weights_of(out), heads_, is_training() ? dropout_ : 0.0};
}

MlpImpl::MlpImpl(std::int64_t in, std::int64_t hidden, std::int64_t out, Activation activation)
    : activation_(activation) {
  fc1 = register_module("fc1", Linear(in, hidden));
  fc2 = register_module("fc2", Linear(hidden, out));
}

at::Tensor MlpImpl::forward(const at::Tensor& x) const { return weights().forward(x); }

MlpWeights MlpImpl::weights() const { return {weights_of(fc1), weights_of(fc2), activation_}; }

EncoderLayerImpl::EncoderLayerImpl(const EncoderLayerConfig& config) : config_(checked(config)) {
  attention = register_module("attention", SelfAttention(config));
  attention_norm = register_module("attention_norm", layer_norm(config));
  mlp = register_module("mlp", Mlp(config.hidden_size, config.intermediate_size, config.hidden_size,
                                   config.activation));
  mlp_norm = register_module("mlp_norm", layer_norm(config));
}

at::Tensor EncoderLayerImpl::forward(const at::Tensor& x, const at::Tensor& valid) const {
  return weights().forward(x, valid);
}

at::Tensor EncoderLayerImpl::forward_first(const at::Tensor& x, const at::Tensor& valid) const {
  return weights().forward_first(x, valid);
}

EncoderLayerWeights EncoderLayerImpl::weights() const {
  return {attention->weights(), weights_of(attention_norm),
          weights_of(mlp_norm), mlp->weights(),
          config_.norm,         is_training() ? config_.dropout : 0.0};
}

}  // namespace bifocal::nn
