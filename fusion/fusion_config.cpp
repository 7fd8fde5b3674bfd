#include "fusion/fusion_config.h"

#include <algorithm>
#include <set>
#include <string>

#include "bifocal/error.h"

namespace bifocal::fusion {
namespace {

constexpr std::int64_t kMaxSize = 65536;
constexpr std::int64_t kMaxGrid = 1024;
constexpr std::int64_t kMaxStages = 32;

// Names become weight names and file names.
bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

std::vector<LabelSet> label_sets_of(const core::JsonConfig& config) {
  std::vector<LabelSet> sets;
  if (!config.has("label_sets")) return sets;
  std::set<std::string> names;
  for (const core::JsonConfig& child : config.children("label_sets")) {
    LabelSet set{child.string("name"), child.strings("labels")};
    set.multi_label = child.boolean_or("multi_label", set.multi_label);
    set.pooled = child.boolean_or("pooled", set.pooled);
    set.hidden_size = child.integer_or("hidden_size", set.hidden_size, 0, kMaxSize);
    if (!is_plain_name(set.name)) {
      throw child.wrong("name", "expected 1 to 64 letters, digits, \"_\" or \"-\"");
    }
    if (!names.insert(set.name).second) throw child.wrong("name", "is taken by another label set");
    if (set.labels.empty()) throw child.wrong("labels", "is empty");
    if (std::set<std::string>(set.labels.begin(), set.labels.end()).size() != set.labels.size()) {
      throw child.wrong("labels", "names a label twice");
    }
    sets.push_back(std::move(set));
  }
  return sets;
}

nn::NormPlacement norm_of(const core::JsonConfig& config, nn::NormPlacement otherwise) {
  const std::string norm =
      config.string_or("norm", otherwise == nn::NormPlacement::kPre ? "pre" : "post");
  if (norm == "pre") return nn::NormPlacement::kPre;
  if (norm == "post") return nn::NormPlacement::kPost;
  throw config.wrong("norm", "expected \"pre\" or \"post\", got \"" + norm + "\"");
}

}  // namespace

FusionConfig FusionConfig::from_config(const core::JsonConfig& config) {
  const FusionConfig usual;
  FusionConfig fusion;
  const auto size = [&config](std::string_view key, std::int64_t otherwise, std::int64_t max) {
    return config.integer_or(key, otherwise, 1, max);
  };
  fusion.hidden_size = size("hidden_size", usual.hidden_size, kMaxSize);
  fusion.skip = config.boolean_or("skip", usual.skip);
  fusion.embedding_size =
      size("embedding_size", fusion.skip ? usual.embedding_size : fusion.hidden_size, kMaxSize);
  if (!fusion.skip && fusion.embedding_size != fusion.hidden_size) {
    throw config.wrong("embedding_size", "must equal hidden_size without a skip");
  }
  fusion.num_hidden_layers = size("num_hidden_layers", usual.num_hidden_layers, 256);
  fusion.num_attention_heads =
      size("num_attention_heads", usual.num_attention_heads, fusion.hidden_size);
  if (fusion.hidden_size % fusion.num_attention_heads != 0) {
    throw config.wrong("num_attention_heads", "does not divide hidden_size");
  }
  fusion.intermediate_size = size("intermediate_size", usual.intermediate_size, 8 * kMaxSize);
  fusion.vision_channels = size("vision_channels", usual.vision_channels, kMaxSize);
  fusion.detail_stage = config.integer_or("detail_stage", usual.detail_stage, 0, kMaxStages);
  fusion.detail_channels = config.integer_or("detail_channels", usual.detail_channels, 0, kMaxSize);
  if ((fusion.detail_stage > 0) != (fusion.detail_channels > 0)) {
    throw config.wrong("detail_channels", "goes with detail_stage: both are above 0, or neither");
  }
  fusion.text_hidden_size = size("text_hidden_size", usual.text_hidden_size, kMaxSize);
  fusion.grid_height = size("grid_height", usual.grid_height, kMaxGrid);
  fusion.grid_width = size("grid_width", usual.grid_width, kMaxGrid);
  fusion.norm = norm_of(config, usual.norm);
  fusion.layer_norm_eps = config.number_or("layer_norm_eps", usual.layer_norm_eps);
  if (fusion.layer_norm_eps <= 0 || fusion.layer_norm_eps > 1) {
    throw config.wrong("layer_norm_eps", "expected a number above 0, at most 1");
  }
  fusion.dropout = config.number_or("dropout", usual.dropout);
  if (fusion.dropout < 0 || fusion.dropout >= 1) {
    throw config.wrong("dropout", "expected a number from 0 to below 1");
  }
  fusion.pooled_dropout = config.number_or("pooled_dropout", usual.pooled_dropout);
  if (fusion.pooled_dropout < 0 || fusion.pooled_dropout >= 1) {
    throw config.wrong("pooled_dropout", "expected a number from 0 to below 1");
  }
  fusion.match_cosine = config.boolean_or("match_cosine", usual.match_cosine);
  if (fusion.match_cosine && !fusion.skip) {
    throw config.wrong("match_cosine", "needs the towers' own vectors: \"skip\": true");
  }
  fusion.match_late_interaction =
      config.boolean_or("match_late_interaction", usual.match_late_interaction);
  fusion.label_sets = label_sets_of(config);
  return fusion;
}

nlohmann::json FusionConfig::to_json() const {
  nlohmann::json json = {
      {"hidden_size", hidden_size},
      {"embedding_size", embedding_size},
      {"num_hidden_layers", num_hidden_layers},
      {"num_attention_heads", num_attention_heads},
      {"intermediate_size", intermediate_size},
      {"vision_channels", vision_channels},
      {"detail_stage", detail_stage},
      {"detail_channels", detail_channels},
      {"text_hidden_size", text_hidden_size},
      {"grid_height", grid_height},
      {"grid_width", grid_width},
      {"norm", norm == nn::NormPlacement::kPre ? "pre" : "post"},
      {"skip", skip},
      {"match_cosine", match_cosine},
      {"match_late_interaction", match_late_interaction},
      {"layer_norm_eps", layer_norm_eps},
      {"dropout", dropout},
      {"pooled_dropout", pooled_dropout},
      {"label_sets", nlohmann::json::array()},
  };
  for (const LabelSet& set : label_sets) {
    json["label_sets"].push_back({{"name", set.name},
                                  {"labels", set.labels},
                                  {"multi_label", set.multi_label},
                                  {"pooled", set.pooled},
                                  {"hidden_size", set.hidden_size}});
  }
  return json;
}

nn::EncoderLayerConfig FusionConfig::layer() const {
  return {.hidden_size = hidden_size,
          .num_attention_heads = num_attention_heads,
          .intermediate_size = intermediate_size,
          .layer_norm_eps = layer_norm_eps,
          .norm = norm,
          .activation = nn::Activation::kGeluErf,
          .dropout = dropout};
}

FusionConfig fusion_preset(std::string_view name) {
  FusionConfig config;
  if (name == "fusion-small") return config;
  if (name == "fusion-base") {
    config.hidden_size = 768;
    config.embedding_size = 768;
    config.intermediate_size = 3072;
    config.text_hidden_size = 768;
    config.norm = nn::NormPlacement::kPost;
    config.skip = false;
    return config;
  }
  throw Error(ErrorCode::kInvalidArgument, "There is no fusion preset \"" + std::string(name) +
                                               "\"; there are fusion-small and fusion-base");
}

FusionCost cost(const FusionConfig& config, std::int64_t visual_tokens, std::int64_t text_tokens) {
  const std::int64_t d = config.hidden_size;
  const std::int64_t e = config.embedding_size;
  const std::int64_t c = config.vision_channels;
  const std::int64_t h = config.text_hidden_size;
  const auto linear = [](std::int64_t in, std::int64_t out) { return in * out + out; };
  const auto projection = [&](std::int64_t in, std::int64_t out) {
    return 2 * in + linear(in, out);
  };
  const std::int64_t layer = linear(d, 3 * d) + linear(d, d) + linear(d, config.intermediate_size) +
                             linear(config.intermediate_size, d) + 2 * 2 * d;
  FusionCost cost;
  cost.parameters = projection(config.token_channels(), d) + projection(h, d) + 3 * d +
                    config.grid_height * config.grid_width * d + config.num_hidden_layers * layer +
                    linear(d, e) + linear(config.match_features(), d) + linear(d, 1) + 1;
  if (config.norm == nn::NormPlacement::kPre) cost.parameters += 2 * d;
  if (config.match_cosine) cost.parameters += 1;
  if (config.match_late_interaction) cost.parameters += 2;
  if (config.skip) cost.parameters += projection(c, e) + projection(h, e) + 2 + 3;
  for (const LabelSet& set : config.label_sets) {
    const auto labels = static_cast<std::int64_t>(set.labels.size());
    const std::int64_t out = set.hidden_size > 0 ? set.hidden_size : labels;
    cost.parameters += linear(d, out);
    if (set.pooled) cost.parameters += projection(c, out) + projection(h, out);
    if (set.hidden_size > 0) cost.parameters += linear(out, labels);
  }

  // The last layer computes queries, keys and values of all positions, and the rest of one.
  const std::int64_t positions = 1 + visual_tokens + text_tokens;
  const std::int64_t after_qkv = d * d + 2 * d * config.intermediate_size;
  const std::int64_t full_layer =
      positions * (3 * d * d + after_qkv) + 2 * positions * positions * d;
  const std::int64_t last_layer = positions * 3 * d * d + after_qkv + 2 * positions * d;
  cost.multiply_adds = visual_tokens * config.token_channels() * d + text_tokens * h * d +
                       (config.num_hidden_layers - 1) * full_layer + last_layer + d * e;
  if (config.skip) {
    cost.multiply_adds += (visual_tokens > 0 ? c * e : 0) + (text_tokens > 0 ? h * e : 0);
  }
  return cost;
}

}  // namespace bifocal::fusion
