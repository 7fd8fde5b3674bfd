#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/pimpl.h>

#include <vector>

#include "nn/encoder_layer.h"
#include "nn/precision.h"
#include "text/bert_config.h"
#include "text/compiled_bert.h"

namespace bifocal::text {

struct BertWeights;

// Weights: word, position, token_type .weight [rows, H]; norm.*.
class BertEmbeddingsImpl : public torch::nn::Module {
 public:
  explicit BertEmbeddingsImpl(const BertConfig& config);

  torch::nn::Embedding word{nullptr}, position{nullptr}, token_type{nullptr};
  torch::nn::LayerNorm norm{nullptr};
};
TORCH_MODULE(BertEmbeddings);

// Weights: embeddings.{word,position,token_type}.weight, embeddings.norm.*, layers.N.*
// (EncoderLayer). Throws Error(kInvalidArgument) where the config's sizes cannot be.
class BertImpl : public torch::nn::Module {
 public:
  explicit BertImpl(const BertConfig& config);

  // ids, type_ids [B, L] int64 (type_ids may be undefined: zeros); valid [B, L] bool or undefined.
  // -> last hidden states [B, L, H]. What stands at an invalid position never reaches a valid one.
  // Error(kInvalidArgument) where L or an id is out of range.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& type_ids,
                     const at::Tensor& valid) const;

  CompiledBert compile(nn::Precision precision) const;
  const BertConfig& config() const noexcept { return config_; }

 private:
  BertWeights weights() const;

  BertConfig config_;
  BertEmbeddings embeddings_{nullptr};
  std::vector<nn::EncoderLayer> layers_;
};
TORCH_MODULE(Bert);

}  // namespace bifocal::text
