#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "bert_weights.h"
#include "nn/cpu/kernels.h"
#include "nn/encoder_plan.h"
#include "text/bert_config.h"

namespace bifocal::text {

// A BERT compiled for kernels of ours. Only the valid tokens are computed, those of all texts end
// to end; the bits of a text's states depend on that text alone. Immutable; thread-safe.
class BertPlan {
 public:
  // The weights are copied.
  BertPlan(const BertConfig& config, const BertWeights& weights, const nn::cpu::Kernels& kernels);

  // As BertImpl::forward, of checked input; zeros at invalid positions.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& type_ids,
                     const at::Tensor& valid) const;

 private:
  BertConfig config_;
  const float* word_ = nullptr;        // [vocab_size, H]
  const float* position_ = nullptr;    // [max_position_embeddings, H]
  const float* token_type_ = nullptr;  // [type_vocab_size, H]
  nn::PackedNorm norm_;
  nn::WeightArena tables_;
  nn::EncoderPlan layers_;
};

}  // namespace bifocal::text
