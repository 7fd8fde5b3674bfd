#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_config.h"
#include "nn/encoder_layer_config.h"

namespace bifocal::fusion {

// Classes, and what the head reads that scores them.
struct LabelSet {
  std::string name;
  std::vector<std::string> labels;
  bool multi_label = false;      // any number of labels may hold: each has a probability of its own
  bool pooled = false;           // the head reads the towers' pooled vectors beside c
  std::int64_t hidden_size = 0;  // of an MLP head; 0: the head is linear
};

struct FusionConfig {
  std::int64_t hidden_size = 256;     // d
  std::int64_t embedding_size = 512;  // e; = d without a skip
  std::int64_t num_hidden_layers = 2;
  std::int64_t num_attention_heads = 8;
  std::int64_t intermediate_size = 512;
  std::int64_t vision_channels = 1280;  // C
  // What visual tokens have beside C: the map after so many stages of the encoder, folded
  // (vision/scaling.h). Both or neither are 0.
  std::int64_t detail_stage = 0;
  std::int64_t detail_channels = 0;
  std::int64_t text_hidden_size = 384;  // H
  std::int64_t grid_height = 7;         // of vision_position
  std::int64_t grid_width = 7;
  nn::NormPlacement norm = nn::NormPlacement::kPre;
  bool skip = true;  // add the towers' own pooled vectors (the residual of the definition)
  double layer_norm_eps = 1e-5;
  // What the match logit adds to the head's: a scaled cosine of b_v and b_t; how well each token of
  // the text finds one of the image that is like it.
  bool match_cosine = false;
  bool match_late_interaction = false;
  double dropout = 0.1;
  double pooled_dropout = 0.3;  // of the towers' own vectors: between norm and dense
  std::vector<LabelSet> label_sets;

  // The "fusion" object of a bundle: the names above, norm "pre" or "post". Throws
  // Error(kInvalidBundle) for a value out of range or sizes that do not go together.
  static FusionConfig from_config(const core::JsonConfig& config);
  nlohmann::json to_json() const;

  nn::EncoderLayerConfig layer() const;
  std::int64_t token_channels() const noexcept { return vision_channels + detail_channels; }
  std::int64_t match_features() const noexcept {  // what the match head reads
    return hidden_size + (skip ? 2 * embedding_size : 0);
  }
};
// "fusion-small" (the reference: d 256, e 512, pre-norm, skip) and "fusion-base" (the original
// sketch: d 768, 8 heads, 2 layers, post-norm, no skip, BERT-base, 1280 channels).
// Throws Error(kNotFound) for any other name.
FusionConfig fusion_preset(std::string_view name);

struct FusionCost {
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;  // of one item's embedding; a side of 0 tokens is absent
};
FusionCost cost(const FusionConfig& config, std::int64_t visual_tokens, std::int64_t text_tokens);

}  // namespace bifocal::fusion
