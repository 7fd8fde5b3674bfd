#include "vision/efficientnet_dialects.h"

#include <array>
#include <map>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::vision {
namespace {

constexpr std::array<EfficientNetDialect, 5> kDialects{{
    {.name = "bifocal",
     .optional_prefix = "",
     .stem_conv = "stem.conv",
     .stem_norm = "stem.norm",
     .head_conv = "head.conv",
     .head_norm = "head.norm",
     .classifier = "classifier",
     .block = "stages.{stage}.{layer}.",
     .mbconv = {"expand.conv", "expand.norm", "depthwise.conv", "depthwise.norm", "se.reduce",
                "se.expand", "project.conv", "project.norm"},
     .mbconv_unexpanded = {"", "", "depthwise.conv", "depthwise.norm", "se.reduce", "se.expand",
                           "project.conv", "project.norm"},
     .fused = {"expand.conv", "expand.norm", "", "", "se.reduce", "se.expand", "project.conv",
               "project.norm"},
     .conv = {"", "", "", "", "", "", "project.conv", "project.norm"}},
    {.name = "timm",
     .optional_prefix = "",
     .stem_conv = "conv_stem",
     .stem_norm = "bn1",
     .head_conv = "conv_head",
     .head_norm = "bn2",
     .classifier = "classifier",
     .block = "blocks.{stage}.{layer}.",
     .mbconv = {"conv_pw", "bn1", "conv_dw", "bn2", "se.conv_reduce", "se.conv_expand", "conv_pwl",
                "bn3"},
     .mbconv_unexpanded = {"", "", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw",
                           "bn2"},
     .fused = {"conv_exp", "bn1", "", "", "se.conv_reduce", "se.conv_expand", "conv_pwl", "bn2"},
     .conv = {"", "", "", "", "", "", "conv", "bn1"}},
    {.name = "torchvision",
     .optional_prefix = "",
     .stem_conv = "features.0.0",
     .stem_norm = "features.0.1",
     .head_conv = "features.{end}.0",
     .head_norm = "features.{end}.1",
     .classifier = "classifier.1",
     .block = "features.{stage1}.{layer}.block.",
     .mbconv = {"0.0", "0.1", "1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1"},
     .mbconv_unexpanded = {"", "", "0.0", "0.1", "1.fc1", "1.fc2", "2.0", "2.1"},
     .fused = {"0.0", "0.1", "", "", "", "", "1.0", "1.1"},
     .conv = {"", "", "", "", "", "", "0.0", "0.1"}},
    {.name = "transformers",
     .optional_prefix = "efficientnet.",
     .stem_conv = "embeddings.convolution",
     .stem_norm = "embeddings.batchnorm",
     .head_conv = "encoder.top_conv",
     .head_norm = "encoder.top_bn",
     .classifier = "classifier",
     .block = "encoder.blocks.{index}.",
     .mbconv = {"expansion.expand_conv", "expansion.expand_bn", "depthwise_conv.depthwise_conv",
                "depthwise_conv.depthwise_norm", "squeeze_excite.reduce", "squeeze_excite.expand",
                "projection.project_conv", "projection.project_bn"},
     .mbconv_unexpanded = {"", "", "depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm",
                           "squeeze_excite.reduce", "squeeze_excite.expand",
                           "projection.project_conv", "projection.project_bn"},
     .fused = {},
     .conv = {}},
    {.name = "lukemelas",
     .optional_prefix = "",
     .stem_conv = "_conv_stem",
     .stem_norm = "_bn0",
     .head_conv = "_conv_head",
     .head_norm = "_bn1",
     .classifier = "_fc",
     .block = "_blocks.{index}.",
     .mbconv = {"_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand",
                "_project_conv", "_bn2"},
     .mbconv_unexpanded = {"", "", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand",
                           "_project_conv", "_bn2"},
     .fused = {},
     .conv = {}},
}};

std::string replaced(std::string text, std::string_view mark, std::size_t number) {
  const std::size_t found = text.find(mark);
  return found == std::string::npos ? text
                                    : text.replace(found, mark.size(), std::to_string(number));
}

const BlockNames& names_of(const EfficientNetDialect& dialect, const StageConfig& stage) {
  switch (stage.kind) {
    case BlockKind::kConv:
      return dialect.conv;
    case BlockKind::kFusedMBConv:
      return dialect.fused;
    case BlockKind::kMBConv:
      break;
  }
  return stage.expand_ratio == 1 ? dialect.mbconv_unexpanded : dialect.mbconv;
}

// From a layer's name in the dialect to its name here.
using LayerNames = std::map<std::string, std::string, std::less<>>;

void add_block(LayerNames& names, const BlockNames& theirs, const std::string& their_prefix,
               const BlockNames& ours, const std::string& our_prefix) {
  const std::pair<std::string_view, std::string_view> parts[] = {
      {theirs.expand_conv, ours.expand_conv},       {theirs.expand_norm, ours.expand_norm},
      {theirs.depthwise_conv, ours.depthwise_conv}, {theirs.depthwise_norm, ours.depthwise_norm},
      {theirs.se_reduce, ours.se_reduce},           {theirs.se_expand, ours.se_expand},
      {theirs.project_conv, ours.project_conv},     {theirs.project_norm, ours.project_norm}};
  for (const auto& [their_name, our_name] : parts)
    if (!their_name.empty())
      names.emplace(their_prefix + std::string(their_name), our_prefix + std::string(our_name));
}

LayerNames layer_names(const EfficientNetDialect& dialect, const EfficientNetConfig& config) {
  const EfficientNetDialect& own = kDialects.front();
  const std::size_t end = config.stages.size() + 1;
  LayerNames names;
  names.emplace(dialect.stem_conv, own.stem_conv);
  names.emplace(dialect.stem_norm, own.stem_norm);
  names.emplace(replaced(std::string(dialect.head_conv), "{end}", end), own.head_conv);
  names.emplace(replaced(std::string(dialect.head_norm), "{end}", end), own.head_norm);
  names.emplace(dialect.classifier, own.classifier);
  std::size_t index = 0;
  for (std::size_t s = 0; s < config.stages.size(); ++s)
    for (std::int64_t layer = 0; layer < config.stages[s].layers; ++layer, ++index) {
      const auto prefix = [&](std::string_view pattern) {
        std::string text = replaced(std::string(pattern), "{stage}", s);
        text = replaced(std::move(text), "{stage1}", s + 1);
        text = replaced(std::move(text), "{layer}", static_cast<std::size_t>(layer));
        return replaced(std::move(text), "{index}", index);
      };
      add_block(names, names_of(dialect, config.stages[s]), prefix(dialect.block),
                names_of(own, config.stages[s]), prefix(own.block));
    }
  return names;
}

}  // namespace

std::span<const EfficientNetDialect> efficientnet_dialects() { return kDialects; }

const EfficientNetDialect& recognise_dialect(const nn::StateDict& weights,
                                             std::string_view source) {
  std::string known;
  for (const EfficientNetDialect& dialect : kDialects) {
    const std::string stem = std::string(dialect.stem_conv) + ".weight";
    if (weights.contains(stem) || weights.contains(std::string(dialect.optional_prefix) + stem))
      return dialect;
    known += (known.empty() ? "" : ", ") + std::string(dialect.name) + " (" + stem + ")";
  }
  throw Error(ErrorCode::kInvalidBundle,
              std::string(source) +
                  ": is not an EfficientNet checkpoint of a kind known here; the "
                  "stem's weight tells the kind: " +
                  known);
}

std::string classifier_weight(const EfficientNetDialect& dialect, const nn::StateDict& weights) {
  const std::string name = std::string(dialect.classifier) + ".weight";
  return weights.contains(name) ? name : std::string();
}

nn::StateDict translate(const nn::StateDict& weights, const EfficientNetDialect& dialect,
                        const EfficientNetConfig& config, std::string_view source) {
  const LayerNames names = layer_names(dialect, config);
  nn::StateDict translated;
  for (const auto& [name, tensor] : weights) {
    std::string_view inner = name;
    if (!dialect.optional_prefix.empty() && inner.starts_with(dialect.optional_prefix))
      inner.remove_prefix(dialect.optional_prefix.size());
    const std::size_t dot = inner.rfind('.');
    const std::string_view field = dot == std::string_view::npos ? "" : inner.substr(dot);
    if (field == ".num_batches_tracked") continue;  // a counter that nothing reads
    const auto found = names.find(inner.substr(0, inner.size() - field.size()));
    const std::string ours = found == names.end() ? name : found->second + std::string(field);
    if (!translated.emplace(ours, tensor).second)
      throw Error(ErrorCode::kInvalidBundle,
                  std::string(source) + ": " + name + " is there twice, as " + ours);
  }
  return translated;
}

}  // namespace bifocal::vision
