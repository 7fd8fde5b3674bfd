#pragma once

#include <cstdint>

#include "core/json_config.h"
#include "nn/encoder_layer_config.h"
#include "nn/pooling.h"

namespace bifocal::text {

// Devlin et al. 2019; also MiniLM and, with position_offset 2, XLM-R.
struct BertConfig {
  std::int64_t vocab_size = 30522;
  std::int64_t hidden_size = 768;
  std::int64_t num_hidden_layers = 12;
  std::int64_t num_attention_heads = 12;
  std::int64_t intermediate_size = 3072;
  std::int64_t max_position_embeddings = 512;  // rows of the table
  std::int64_t type_vocab_size = 2;
  std::int64_t position_offset = 0;  // XLM-R: padding_idx + 1
  double layer_norm_eps = 1e-12;
  double hidden_dropout_prob = 0.1;
  nn::Activation activation = nn::Activation::kGeluErf;
  nn::Pooling pooling = nn::Pooling::kMean;
  std::int64_t max_tokens = 512;  // what the publisher serves: 256 for all-MiniLM-L6-v2

  // transformers' config.json (model_type bert, roberta, xlm-roberta, camembert), and what to_json
  // writes. Throws Error: kInvalidBundle for a value out of range, kUnsupported for a variant
  // (decoders, relative positions, other model types).
  static BertConfig from_config(const core::JsonConfig& config);
  // A config.json that transformers reads too; pooling and max_tokens are keys of ours.
  nlohmann::json to_json() const;

  // The longest sequence that the table of positions allows.
  std::int64_t longest_sequence() const noexcept {
    return max_position_embeddings - position_offset;
  }
  nn::EncoderLayerConfig layer() const;
};

struct TextCost {
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;  // of one text of `tokens` tokens
};
TextCost cost(const BertConfig& config, std::int64_t tokens);

}  // namespace bifocal::text
