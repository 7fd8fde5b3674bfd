#include "nn/encoder_layer_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <optional>

namespace bifocal::nn {
namespace {

at::Tensor drop(const at::Tensor& x, double probability) {
  return probability > 0 ? at::dropout(x, probability, /*train=*/true) : x;
}

// The outputs at the first `queries` positions: [B, queries, d].
at::Tensor attend(const AttentionWeights& weights, const at::Tensor& x, const at::Tensor& valid,
                  std::int64_t queries) {
  const std::int64_t batch = x.size(0);
  const std::int64_t positions = x.size(1);
  const std::int64_t size = x.size(2);
  const std::int64_t heads = weights.num_attention_heads;
  const auto qkv = weights.qkv.forward(x)
                       .view({batch, positions, 3, heads, size / heads})
                       .permute({2, 0, 3, 1, 4});  // [3, B, heads, S, d / heads]
  std::optional<at::Tensor> mask;
  if (valid.defined()) mask = valid.view({batch, 1, 1, positions});
  const auto attended =
      at::scaled_dot_product_attention(qkv[0].narrow(2, 0, queries), qkv[1], qkv[2], mask,
                                       weights.dropout);  // [B, heads, queries, d / heads]
  return weights.out.forward(attended.transpose(1, 2).reshape({batch, queries, size}));
}

at::Tensor encode(const EncoderLayerWeights& weights, const at::Tensor& x, const at::Tensor& valid,
                  std::int64_t queries) {
  const at::Tensor kept = x.narrow(1, 0, queries);
  if (weights.norm == NormPlacement::kPre) {
    const auto attended =
        attend(weights.attention, weights.attention_norm.forward(x), valid, queries);
    const auto hidden = kept + drop(attended, weights.dropout);
    return hidden + drop(weights.mlp.forward(weights.mlp_norm.forward(hidden)), weights.dropout);
  }
  const auto attended = attend(weights.attention, x, valid, queries);
  const auto hidden = weights.attention_norm.forward(kept + drop(attended, weights.dropout));
  return weights.mlp_norm.forward(hidden + drop(weights.mlp.forward(hidden), weights.dropout));
}

}  // namespace

at::Tensor AttentionWeights::forward(const at::Tensor& x, const at::Tensor& valid) const {
  return attend(*this, x, valid, x.size(1));
}

at::Tensor AttentionWeights::forward_first(const at::Tensor& x, const at::Tensor& valid) const {
  return attend(*this, x, valid, 1);
}

AttentionWeights AttentionWeights::compiled(Precision precision) const {
  return {qkv.compiled(precision), out.compiled(precision), num_attention_heads, 0.0};
}

at::Tensor MlpWeights::forward(const at::Tensor& x) const {
  return fc2.forward(fc1.forward_unwidened(x, activation));
}

MlpWeights MlpWeights::compiled(Precision precision) const {
  return {fc1.compiled(precision), fc2.compiled(precision), activation};
}

at::Tensor EncoderLayerWeights::forward(const at::Tensor& x, const at::Tensor& valid) const {
  return encode(*this, x, valid, x.size(1));
}

at::Tensor EncoderLayerWeights::forward_first(const at::Tensor& x, const at::Tensor& valid) const {
  return encode(*this, x, valid, 1);
}

EncoderLayerWeights EncoderLayerWeights::compiled(Precision precision) const {
  return {attention.compiled(precision),
          attention_norm.compiled(),
          mlp_norm.compiled(),
          mlp.compiled(precision),
          norm,
          0.0};
}

}  // namespace bifocal::nn
