#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/pimpl.h>

#include "nn/encoder_layer.h"
#include "nn/precision.h"
#include "text/bert_config.h"
#include "text/compiled_bert.h"

namespace bifocal::text {

// Weights: embeddings.{word,position,token_type}.weight, embeddings.norm.*, layers.N.* (EncoderLayer).
class BertImpl : public torch::nn::Module {
 public:
  explicit BertImpl(const BertConfig& config);

  // ids, type_ids [B, L] int64 (type_ids may be undefined: zeros); valid [B, L] bool or undefined.
  // -> last hidden states [B, L, H]. Error(kInvalidArgument) where L or an id is out of range.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& type_ids, const at::Tensor& valid);

  CompiledBert compile(nn::Precision precision) const;
  const BertConfig& config() const noexcept { return config_; }

 private:
  BertConfig config_;
};
TORCH_MODULE(Bert);

}  // namespace bifocal::text
