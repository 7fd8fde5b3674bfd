#include <gtest/gtest.h>

#include <cmath>

#include "fusion_input.h"
#include "nn/weights.h"

namespace bifocal::fusion {
namespace {

nn::StateDict fresh(const FusionConfig& config, std::uint64_t seed) {
  FusionTransformer fusion(config);
  initialise(*fusion, seed);
  return nn::state_dict_of(*fusion);
}

TEST(Initialise, ASeedGivesTheSameWeightsAlways) {
  const auto weights = fresh(FusionConfig(), 42);
  const auto again = fresh(FusionConfig(), 42);
  const auto other = fresh(FusionConfig(), 43);
  for (const auto& [name, weight] : weights) EXPECT_TRUE(weight.equal(again.at(name))) << name;
  EXPECT_FALSE(weights.at("fusion_token").equal(other.at("fusion_token")));
  EXPECT_FALSE(weights.at("vision_type").equal(weights.at("text_type")));
}

// Pinned by an independent computation (MT19937-64 from its definition, in Python): what a seed
// gives is part of what a bundle is, on every machine.
TEST(Initialise, ASeedGivesTheseWeights) {
  const auto weights = fresh(FusionConfig(), 42);
  const auto value = [&](const char* name, std::int64_t index) {
    return weights.at(name).flatten()[index].item<float>();
  };
  EXPECT_EQ(value("fusion_token", 0), -0x1.e23bc2p-7f);
  EXPECT_EQ(value("fusion_token", 1), -0x1.f7545ap-7f);
  EXPECT_EQ(value("fusion_token", 2), 0x1.70946ap-6f);
  EXPECT_EQ(value("layers.0.attention.qkv.weight", 0), -0x1.ebe982p-7f);
  EXPECT_EQ(value("layers.0.attention.qkv.weight", 1), 0x1.30c7eep-7f);
  EXPECT_EQ(value("layers.0.attention.qkv.weight", 2), -0x1.35b286p-6f);
}

TEST(Initialise, AnotherHeadLeavesTheRestAsItWas) {
  FusionConfig more;
  more.label_sets = {{"kind", {"a", "b"}}};
  const auto weights = fresh(FusionConfig(), 7);
  const auto with_head = fresh(more, 7);
  for (const auto& [name, weight] : weights) EXPECT_TRUE(weight.equal(with_head.at(name))) << name;
}

TEST(Initialise, MatricesAreTruncatedNormal) {
  const auto weight = fresh(FusionConfig(), 9).at("pooled_vision.dense.weight");
  EXPECT_LE(weight.abs().max().item<double>(), 0.04 + 1e-9);
  EXPECT_NEAR(weight.mean().item<double>(), 0, 1e-4);
  // A normal cut at two deviations keeps 0.880 of its deviation; a sum of twelve uniforms, 0.887.
  EXPECT_NEAR(weight.std().item<double>(), 0.02 * 0.887, 1e-4);
}

TEST(Initialise, ScalesAreThoseOfTheDefinition) {
  const auto weights = fresh(FusionConfig(), 9);
  EXPECT_TRUE(weights.at("residual_gain").eq(0.1f).all().item<bool>());
  EXPECT_TRUE(weights.at("pooled_mix").eq(1).all().item<bool>());
  EXPECT_NEAR(weights.at("logit_scale").item<double>(), std::log(1 / 0.07), 1e-6);
  EXPECT_TRUE(weights.at("layers.1.mlp_norm.weight").eq(1).all().item<bool>());
  EXPECT_TRUE(weights.at("layers.1.mlp_norm.bias").eq(0).all().item<bool>());
  EXPECT_TRUE(weights.at("match_head.fc1.bias").eq(0).all().item<bool>());
}

}  // namespace
}  // namespace bifocal::fusion
