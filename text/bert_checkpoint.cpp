#include "text/bert_checkpoint.h"

#include <algorithm>
#include <array>
#include <regex>
#include <string>

#include "bifocal/error.h"
#include "core/json_config.h"
#include "core/safetensors.h"
#include "nn/linear.h"

namespace bifocal::text {
namespace {

// Names of the original BERT as transformers publishes it, below any prefix ("bert.",
// "0.auto_model."); and, last, our own, so that what Bifocal has trained loads by the same door.
constexpr std::array kBertNames = {
    nn::NameRule{R"((?:.*\.)?embeddings\.word_embeddings\.weight)", "embeddings.word.weight"},
    nn::NameRule{R"((?:.*\.)?embeddings\.position_embeddings\.weight)",
                 "embeddings.position.weight"},
    nn::NameRule{R"((?:.*\.)?embeddings\.token_type_embeddings\.weight)",
                 "embeddings.token_type.weight"},
    nn::NameRule{R"((?:.*\.)?embeddings\.LayerNorm\.(?:weight|gamma))", "embeddings.norm.weight"},
    nn::NameRule{R"((?:.*\.)?embeddings\.LayerNorm\.(?:bias|beta))", "embeddings.norm.bias"},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.attention\.self\.query\.(weight|bias))",
                 "layers.$1.attention.qkv.$2", 0, 3},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.attention\.self\.key\.(weight|bias))",
                 "layers.$1.attention.qkv.$2", 1, 3},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.attention\.self\.value\.(weight|bias))",
                 "layers.$1.attention.qkv.$2", 2, 3},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.attention\.output\.dense\.(weight|bias))",
                 "layers.$1.attention.out.$2"},
    nn::NameRule{
        R"((?:.*\.)?encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(?:weight|gamma))",
        "layers.$1.attention_norm.weight"},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.attention\.output\.LayerNorm\.(?:bias|beta))",
                 "layers.$1.attention_norm.bias"},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.intermediate\.dense\.(weight|bias))",
                 "layers.$1.mlp.fc1.$2"},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.output\.dense\.(weight|bias))",
                 "layers.$1.mlp.fc2.$2"},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.output\.LayerNorm\.(?:weight|gamma))",
                 "layers.$1.mlp_norm.weight"},
    nn::NameRule{R"((?:.*\.)?encoder\.layer\.(\d+)\.output\.LayerNorm\.(?:bias|beta))",
                 "layers.$1.mlp_norm.bias"},
    nn::NameRule{R"((?:.*\.)?embeddings\.(?:position_ids|token_type_ids))", ""},
    nn::NameRule{R"((?:.*\.)?(?:pooler|cls|lm_head|classifier)\..*)", ""},
    nn::NameRule{R"(embeddings\.(?:word|position|token_type|norm)\.(?:weight|bias))", "$&"},
    nn::NameRule{R"(layers\.\d+\.(?:attention|attention_norm|mlp|mlp_norm)\..*)", "$&"},
};

// Which of sentence-transformers' pooling modes is on.
nn::Pooling pooling_of(const core::JsonConfig& config) {
  struct Mode {
    std::string_view key;
    nn::Pooling pooling;
  };
  constexpr std::array kModes = {Mode{"pooling_mode_mean_tokens", nn::Pooling::kMean},
                                 Mode{"pooling_mode_cls_token", nn::Pooling::kCls},
                                 Mode{"pooling_mode_max_tokens", nn::Pooling::kMax}};
  if (config.has("pooling_mode")) return nn::pooling_from_name(config.string("pooling_mode"));
  std::string modes_on;
  const Mode* found = nullptr;
  std::size_t count = 0;
  for (const auto& [key, value] : config.json().items()) {
    if (!key.starts_with("pooling_mode_") || !config.boolean_or(key, false)) continue;
    ++count;
    modes_on += " " + key;
    const auto mode = std::find_if(kModes.begin(), kModes.end(),
                                   [&name = key](const Mode& m) { return m.key == name; });
    if (mode != kModes.end()) found = &*mode;
  }
  if (count != 1 || found == nullptr) {
    throw Error(ErrorCode::kUnsupported,
                config.source() +
                    ": exactly one of mean, CLS and max pooling is supported; on are:" +
                    (count == 0 ? " none" : modes_on));
  }
  return found->pooling;
}

}  // namespace

void load_bert_weights(BertImpl& module, const nn::StateDict& weights, std::string_view source,
                       nn::Holding holding) {
  nn::load_weights(module, nn::rename(weights, kBertNames, source), source, holding);
}

nn::StateDict published_bert_weights(const nn::StateDict& weights,
                                     const std::vector<std::string>& published_names) {
  nn::StateDict published;
  for (const std::string& name : published_names) {
    for (const nn::NameRule& rule : kBertNames) {
      std::smatch match;
      if (!std::regex_match(name, match, std::regex(rule.pattern.begin(), rule.pattern.end())))
        continue;
      const auto found = weights.find(match.format(std::string(rule.name)));
      if (found != weights.end())
        published.emplace(name,
                          found->second.chunk(rule.parts, 0)[static_cast<std::size_t>(rule.part)]);
      break;
    }
  }
  return published;
}

BertConfig read_bert_config(const std::filesystem::path& directory) {
  BertConfig config = BertConfig::from_config(core::JsonConfig::read(directory / "config.json"));
  const auto pooling = directory / "1_Pooling" / "config.json";
  if (std::filesystem::exists(pooling)) {
    config.pooling = pooling_of(core::JsonConfig::read(pooling));
  }
  const auto sentence = directory / "sentence_bert_config.json";
  if (std::filesystem::exists(sentence)) {
    const auto served = core::JsonConfig::read(sentence).integer_or(
        "max_seq_length", config.max_tokens, 1, std::int64_t{1} << 24);
    config.max_tokens = std::min(served, config.longest_sequence());
  }
  return config;
}

Bert load_bert(const std::filesystem::path& directory, nn::Holding holding) {
  const nn::WeightsFollow weights_follow;
  Bert bert(read_bert_config(directory));
  const auto path = directory / "model.safetensors";
  load_bert_weights(*bert, nn::map_state_dict(core::Safetensors::open(path)), path.string(),
                    holding);
  bert->eval();
  return bert;
}

}  // namespace bifocal::text
