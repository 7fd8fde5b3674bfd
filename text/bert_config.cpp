#include "text/bert_config.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "bifocal/error.h"

namespace bifocal::text {
namespace {

constexpr std::int64_t kMaxSize = 65536;
constexpr std::int64_t kMaxVocabulary = 16'000'000;

struct ModelType {
  std::string_view name;
  bool positions_after_padding;  // the first position is padding_idx + 1, as in fairseq
};
constexpr std::array kModelTypes = {
    ModelType{"bert", false},
    ModelType{"roberta", true},
    ModelType{"xlm-roberta", true},
    ModelType{"camembert", true},
};

const ModelType& model_type_of(const core::JsonConfig& config) {
  const std::string name = config.string_or("model_type", "bert");
  for (const ModelType& type : kModelTypes) {
    if (type.name == name) return type;
  }
  throw Error(ErrorCode::kUnsupported,
              config.source() + ": model_type \"" + name +
                  "\" is not one of bert, roberta, xlm-roberta, camembert");
}

void refuse_variants(const core::JsonConfig& config) {
  const auto unsupported = [&config](std::string_view what) {
    return Error(ErrorCode::kUnsupported, config.source() + ": " + std::string(what));
  };
  const std::string positions = config.string_or("position_embedding_type", "absolute");
  if (positions != "absolute") {
    throw unsupported("position_embedding_type \"" + positions + "\"; only absolute is supported");
  }
  if (config.boolean_or("is_decoder", false) || config.boolean_or("add_cross_attention", false)) {
    throw unsupported("a decoder; only encoders are supported");
  }
  if (config.has("embedding_size") &&
      config.integer("embedding_size", 1, kMaxSize) != config.integer("hidden_size", 1, kMaxSize)) {
    throw unsupported(
        "embedding_size differs from hidden_size; factorised embeddings are not "
        "supported");
  }
}

}  // namespace

BertConfig BertConfig::from_config(const core::JsonConfig& config) {
  const ModelType& type = model_type_of(config);
  refuse_variants(config);
  BertConfig bert;
  bert.vocab_size = config.integer("vocab_size", 1, kMaxVocabulary);
  bert.hidden_size = config.integer("hidden_size", 1, kMaxSize);
  bert.num_hidden_layers = config.integer("num_hidden_layers", 1, 1024);
  bert.num_attention_heads = config.integer("num_attention_heads", 1, bert.hidden_size);
  if (bert.hidden_size % bert.num_attention_heads != 0) {
    throw config.wrong("num_attention_heads", "does not divide hidden_size");
  }
  bert.intermediate_size = config.integer("intermediate_size", 1, 8 * kMaxSize);
  if (type.positions_after_padding) {
    bert.position_offset = config.integer_or("pad_token_id", 1, 0, bert.vocab_size - 1) + 1;
  }
  bert.max_position_embeddings = config.integer_or("max_position_embeddings", 512,
                                                   bert.position_offset + 1, std::int64_t{1} << 24);
  bert.type_vocab_size = config.integer_or("type_vocab_size", 2, 1, kMaxSize);
  bert.layer_norm_eps = config.number_or("layer_norm_eps", 1e-12);
  if (bert.layer_norm_eps <= 0 || bert.layer_norm_eps > 1) {
    throw config.wrong("layer_norm_eps", "expected a number above 0, at most 1");
  }
  bert.hidden_dropout_prob = config.number_or("hidden_dropout_prob", 0.1);
  if (bert.hidden_dropout_prob < 0 || bert.hidden_dropout_prob >= 1) {
    throw config.wrong("hidden_dropout_prob", "expected a number from 0 to below 1");
  }
  try {
    bert.activation = nn::activation_from_name(config.string_or("hidden_act", "gelu"));
    bert.pooling = nn::pooling_from_name(config.string_or("pooling", "mean"));
  } catch (const Error& error) {
    throw error.within(config.source());
  }
  bert.max_tokens =
      config.integer_or("max_tokens", bert.longest_sequence(), 1, bert.longest_sequence());
  return bert;
}

nlohmann::json BertConfig::to_json() const {
  nlohmann::json json = {
      {"model_type", position_offset > 0 ? "xlm-roberta" : "bert"},
      {"vocab_size", vocab_size},
      {"hidden_size", hidden_size},
      {"num_hidden_layers", num_hidden_layers},
      {"num_attention_heads", num_attention_heads},
      {"intermediate_size", intermediate_size},
      {"max_position_embeddings", max_position_embeddings},
      {"type_vocab_size", type_vocab_size},
      {"layer_norm_eps", layer_norm_eps},
      {"hidden_dropout_prob", hidden_dropout_prob},
      {"attention_probs_dropout_prob", hidden_dropout_prob},
      {"hidden_act", nn::name_of(activation)},
      {"pooling", nn::name_of(pooling)},
      {"max_tokens", max_tokens},
  };
  if (position_offset > 0) json["pad_token_id"] = position_offset - 1;
  return json;
}

nn::EncoderLayerConfig BertConfig::layer() const {
  return {.hidden_size = hidden_size,
          .num_attention_heads = num_attention_heads,
          .intermediate_size = intermediate_size,
          .layer_norm_eps = layer_norm_eps,
          .norm = nn::NormPlacement::kPost,
          .activation = activation,
          .dropout = hidden_dropout_prob};
}

TextCost cost(const BertConfig& config, std::int64_t tokens) {
  const std::int64_t d = config.hidden_size;
  const std::int64_t rows =
      config.vocab_size + config.max_position_embeddings + config.type_vocab_size;
  const std::int64_t matrices = 4 * d * d + 2 * d * config.intermediate_size;
  const std::int64_t biases_and_norms = 4 * d + config.intermediate_size + d + 2 * 2 * d;
  TextCost cost;
  cost.parameters = rows * d + 2 * d + config.num_hidden_layers * (matrices + biases_and_norms);
  cost.multiply_adds = config.num_hidden_layers * (tokens * matrices + 2 * tokens * tokens * d);
  return cost;
}

}  // namespace bifocal::text
