#include "fusion/fusion_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "bifocal/error.h"

namespace bifocal::fusion {
namespace {

using ::testing::HasSubstr;

FusionConfig config_of(const nlohmann::json& json) {
  return FusionConfig::from_config(core::JsonConfig(json, "bifocal.json: fusion"));
}

std::string refusal_of(const std::string& key, const nlohmann::json& value) {
  auto json = FusionConfig().to_json();
  json[key] = value;
  try {
    config_of(json);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    return error.message();
  }
  return "accepted";
}

TEST(FusionConfig, JsonRoundTrips) {
  FusionConfig config = fusion_preset("fusion-base");
  config.grid_height = 3;
  config.grid_width = 12;
  config.detail_stage = 4;
  config.detail_channels = 320;
  config.dropout = 0.25;
  config.layer_norm_eps = 1e-6;
  config.label_sets = {{"flowers", {"rose", "tulip"}}, {"is_indoor", {"no", "yes"}}};
  config.label_sets[0].multi_label = true;
  config.label_sets[1].pooled = true;
  config.label_sets[1].hidden_size = 64;
  for (const FusionConfig& each : {config, FusionConfig()}) {
    EXPECT_EQ(config_of(each.to_json()).to_json(), each.to_json());
  }
  EXPECT_EQ(config_of(config.to_json()).label_sets[1].labels[1], "yes");
}

TEST(FusionConfig, AbsentKeysAreThoseOfTheReference) {
  EXPECT_EQ(config_of(nlohmann::json::object()).to_json(), FusionConfig().to_json());
}

TEST(FusionConfig, WithoutASkipTheEmbeddingHasTheHiddenSize) {
  EXPECT_EQ(config_of({{"skip", false}, {"hidden_size", 96}}).embedding_size, 96);
  EXPECT_THROW(config_of({{"skip", false}, {"hidden_size", 96}, {"embedding_size", 64}}), Error);
}

TEST(FusionConfig, WhatIsOutOfRangeIsNamed) {
  for (const char* key :
       {"hidden_size", "embedding_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "vision_channels", "text_hidden_size", "grid_height", "grid_width"}) {
    for (const nlohmann::json& value : {nlohmann::json(0), nlohmann::json(-3), nlohmann::json(1e18),
                                        nlohmann::json("big"), nlohmann::json(1.5)}) {
      EXPECT_THAT(refusal_of(key, value), HasSubstr(std::string("bifocal.json: fusion: ") + key));
    }
  }
  EXPECT_THAT(refusal_of("num_attention_heads", 7), HasSubstr("does not divide"));
  EXPECT_THAT(refusal_of("norm", "middle"), HasSubstr("norm"));
  EXPECT_THAT(refusal_of("dropout", 1.0), HasSubstr("dropout"));
  EXPECT_THAT(refusal_of("layer_norm_eps", 0), HasSubstr("layer_norm_eps"));
  EXPECT_THAT(refusal_of("detail_stage", 4), HasSubstr("detail_channels"));
  EXPECT_THAT(refusal_of("detail_channels", 320), HasSubstr("detail_stage"));
}

TEST(FusionConfig, LabelSetsHaveNamesThatWeightsCanHave) {
  const auto sets = [](const std::string& name, const nlohmann::json& labels) {
    return nlohmann::json::array({{{"name", name}, {"labels", labels}}});
  };
  EXPECT_EQ(refusal_of("label_sets", sets("flowers-12", {"rose"})), "accepted");
  EXPECT_THAT(refusal_of("label_sets", sets("a.b", {"rose"})), HasSubstr("name"));
  EXPECT_THAT(refusal_of("label_sets", sets("../x", {"rose"})), HasSubstr("name"));
  EXPECT_THAT(refusal_of("label_sets", sets("", {"rose"})), HasSubstr("name"));
  EXPECT_THAT(refusal_of("label_sets", sets("x", nlohmann::json::array())), HasSubstr("empty"));
  EXPECT_THAT(refusal_of("label_sets", sets("x", {"rose", "rose"})), HasSubstr("twice"));
  auto twice = sets("x", {"rose"});
  twice.push_back(twice[0]);
  EXPECT_THAT(refusal_of("label_sets", twice), HasSubstr("taken"));
}

TEST(FusionConfig, TheReferenceHasItsPublishedSize) {
  EXPECT_EQ(cost(fusion_preset("fusion-small"), 49, 16).parameters, 2'813'959);
}

TEST(FusionConfig, TheBasePresetIsTheOriginalSketch) {
  const auto config = fusion_preset("fusion-base");
  EXPECT_EQ(config.hidden_size, 768);
  EXPECT_EQ(config.num_attention_heads, 8);
  EXPECT_EQ(config.num_hidden_layers, 2);
  EXPECT_EQ(config.vision_channels, 1280);
  EXPECT_EQ(config.text_hidden_size, 768);
  EXPECT_EQ(config.norm, nn::NormPlacement::kPost);
  EXPECT_FALSE(config.skip);
  // Two layers of 7.08 M, projections of 1280 and 768 channels, an embedding and a match head.
  EXPECT_EQ(cost(config, 49, 64).parameters,
            2 * 7'087'872 + 986'368 + 592'128 + 3 * 768 + 49 * 768 + 590'592 + 590'592 + 769 + 1);
  EXPECT_THROW(fusion_preset("fusion-huge"), Error);
}

TEST(FusionConfig, AnAbsentSideCostsNothing) {
  const FusionConfig config;
  const auto both = cost(config, 49, 16).multiply_adds;
  EXPECT_GT(both, cost(config, 49, 0).multiply_adds);
  EXPECT_GT(both, cost(config, 0, 16).multiply_adds);
  EXPECT_GT(cost(config, 0, 16).multiply_adds, 0);
}

}  // namespace
}  // namespace bifocal::fusion
