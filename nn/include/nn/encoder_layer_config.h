#pragma once

#include <cstdint>
#include <string_view>

namespace bifocal::nn {

enum class NormPlacement { kPost, kPre };  // BERT's original, and the one of GPT-2

enum class Activation { kGeluErf, kGeluTanh, kRelu, kSilu, kRelu6 };
// Names as config files have them: "gelu", "gelu_new", "relu", "silu", "relu6" and their synonyms.
// Throws Error(kUnsupported) for any other.
Activation activation_from_name(std::string_view name);
std::string_view name_of(Activation activation) noexcept;

struct EncoderLayerConfig {
  std::int64_t hidden_size = 0;
  std::int64_t num_attention_heads = 0;  // divides hidden_size
  std::int64_t intermediate_size = 0;
  double layer_norm_eps = 1e-5;
  NormPlacement norm = NormPlacement::kPost;
  Activation activation = Activation::kGeluErf;
  double dropout = 0.0;  // of attention weights and of both residual branches, while training
};

}  // namespace bifocal::nn
