#include "vision/mbconv.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <cmath>
#include <set>
#include <string>

namespace bifocal::vision {
namespace {

std::set<std::string> weight_names(const torch::nn::Module& module) {
  std::set<std::string> names;
  for (const auto& weight : module.named_parameters()) names.insert(weight.key());
  return names;
}

const StageConfig kSkipping{BlockKind::kMBConv, 4, 3, 1, 8, 8, 1, 0.25};

TEST(MBConv, HasThePartsOfItsKind) {
  const auto names = [](StageConfig stage) {
    return weight_names(*MBConv(stage, stage.in_channels, stage.stride, 0, ConvDefaults{}));
  };
  const auto has = [](const std::set<std::string>& in, const std::string& name) {
    return in.contains(name);
  };
  StageConfig stage = kSkipping;
  EXPECT_TRUE(has(names(stage), "expand.conv.weight"));
  EXPECT_TRUE(has(names(stage), "se.reduce.bias"));
  stage.expand_ratio = 1;
  EXPECT_FALSE(has(names(stage), "expand.conv.weight"));
  EXPECT_TRUE(has(names(stage), "depthwise.norm.weight"));
  stage.se_ratio = 0;
  EXPECT_FALSE(has(names(stage), "se.reduce.weight"));
  stage.kind = BlockKind::kFusedMBConv;
  EXPECT_TRUE(has(names(stage), "expand.conv.weight"));
  EXPECT_FALSE(has(names(stage), "depthwise.conv.weight"));
  stage.kind = BlockKind::kConv;
  EXPECT_EQ(names(stage), (std::set<std::string>{"project.conv.weight", "project.norm.weight",
                                                 "project.norm.bias"}));
}

TEST(MBConv, AddsItsInputOnlyWhereShapesAllow) {
  const auto silenced = [](std::int64_t in, std::int64_t stride) {
    MBConv block(kSkipping, in, stride, 0, ConvDefaults{});
    block->eval();
    const c10::InferenceMode guard;
    block->project->norm->weight.zero_();  // the branch gives nothing
    const at::Tensor x = at::randn({2, in, 9, 7});
    const at::Tensor y = block->forward(x);
    return std::pair(x, y);
  };
  const auto [kept, same] = silenced(8, 1);
  EXPECT_TRUE(at::allclose(kept, same));
  EXPECT_TRUE(at::allclose(silenced(8, 2).second, at::zeros_like(silenced(8, 2).second)));
  EXPECT_TRUE(at::allclose(silenced(16, 1).second, at::zeros_like(silenced(16, 1).second)));
}

TEST(DropConnect, DropsWholeSamplesAndKeepsTheExpectation) {
  torch::manual_seed(3);
  constexpr double kRate = 0.3;
  MBConv block(kSkipping, 8, 1, kRate, ConvDefaults{});
  block->eval();
  const at::Tensor x = at::randn({1, 8, 5, 5}).expand({4000, 8, 5, 5});
  const at::Tensor branch = block->forward(x)[0] - x[0];
  // Batch norm as in eval mode, so that only drop-connect differs.
  block->train();
  for (const auto& module : block->modules())
    if (auto* norm = module->as<torch::nn::BatchNorm2d>()) norm->eval();
  const at::Tensor left = (block->forward(x) - x) / branch;  // 0 or 1 / (1 - rate), by sample
  const at::Tensor by_sample = std::get<0>(left.flatten(1).median(1));
  const double expected = 1 / (1 - kRate);
  const at::Tensor kept = by_sample > expected / 2;
  EXPECT_TRUE(at::allclose(by_sample, kept.to(at::kFloat) * expected, 1e-2, 1e-2));
  EXPECT_NEAR(kept.to(at::kFloat).mean().item<double>(), 1 - kRate, 0.03);
}

TEST(SqueezeExcitation, GatesEachChannelByItsMean) {
  SqueezeExcitation se(6, 2, ConvActivation::kSilu);
  const c10::InferenceMode guard;
  se->expand->weight.zero_();
  se->expand->bias.copy_(at::ones({6}) * -std::log(3.0));  // sigmoid: 1 / 4
  const at::Tensor gate = se->weights().gate(at::randn({2, 6, 4, 3}));
  EXPECT_EQ(gate.sizes(), (std::vector<std::int64_t>{2, 6, 1, 1}));
  EXPECT_TRUE(at::allclose(gate, at::ones({2, 6, 1, 1}) / 4));
}

}  // namespace
}  // namespace bifocal::vision
