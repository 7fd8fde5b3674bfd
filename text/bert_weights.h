#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "nn/encoder_layer_weights.h"
#include "text/bert_config.h"
#include "text/compiled_bert.h"

namespace bifocal::text {

// What BERT computes, once for the trainable module and for the compiled copy.
struct BertWeights {
  at::Tensor word, position, token_type;  // [rows, H]
  nn::NormWeights norm;
  std::vector<nn::EncoderLayerWeights> layers;
  double dropout = 0.0;  // of the embeddings; 0 but in training

  // See BertImpl::forward.
  at::Tensor forward(const BertConfig& config, const at::Tensor& ids, const at::Tensor& type_ids,
                     const at::Tensor& valid) const;

  // For LibTorch's operators.
  BertWeights compiled(nn::Precision precision) const;
};

}  // namespace bifocal::text
