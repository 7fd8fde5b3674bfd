#include "vision/efficientnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <thread>
#include <vector>

#include "bifocal/error.h"
#include "nn/weights.h"
#include "random_efficientnet.h"

namespace bifocal::vision {
namespace {

double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  if (actual.sizes() != expected.sizes()) return 1e9;
  const double largest = expected.abs().max().item<double>();
  return (actual - expected).abs().max().item<double>() / std::max(largest, 1e-12);
}

// At both parities of every axis, and where a stage shrinks the map to one pixel.
const std::vector<std::vector<std::int64_t>> kSizes = {{64, 64}, {33, 47}, {40, 57}, {1, 2}};

TEST(CompiledEfficientNet, AgreesWithTheModuleForAnyConfigAndWeights) {
  std::mt19937 random(11);
  torch::manual_seed(11);
  for (int round = 0; round < 60; ++round) {
    const EfficientNetConfig config = random_config(random);
    const EfficientNet network = random_network(config);
    const CompiledEfficientNet compiled = network->compile(nn::Precision::kFp32);
    for (const auto& size : kSizes) {
      const c10::InferenceMode guard;
      const at::Tensor pixels = at::randn({2, 3, size[0], size[1]});
      const VisionOutput expected = network->forward_features(pixels);
      const VisionOutput actual = compiled.forward_features(pixels);
      EXPECT_EQ(actual.grid_height, expected.grid_height);
      EXPECT_EQ(actual.grid_width, expected.grid_width);
      EXPECT_LT(relative_error(actual.tokens, expected.tokens), 1e-4) << "round " << round;
      EXPECT_LT(relative_error(actual.pooled, expected.pooled), 1e-4) << "round " << round;
      if (config.num_classes > 0) {
        EXPECT_LT(
            relative_error(compiled.classify(actual.pooled), network->classify(expected.pooled)),
            1e-4)
            << "round " << round;
      }
    }
  }
}

// Cell by cell; zeros where the finer map ends.
TEST(EfficientNet, TokensHaveTheFinerMapsCellsBesideTheHeadsChannels) {
  std::mt19937 random(12);
  torch::manual_seed(12);
  const c10::InferenceMode guard;
  for (int round = 0; round < 40; ++round) {
    EfficientNetConfig config = random_config(random);
    const EfficientNet plain = random_network(config);
    config.detail_stage = one_of<std::int64_t>(random, {1, std::ssize(config.stages)});
    EfficientNet network(config);
    nn::load_weights(*network, nn::state_dict_of(*plain), "plain");
    network->eval();
    const at::Tensor pixels = at::randn({2, 3, 33, 50});
    const VisionOutput found = network->forward_features(pixels);
    const at::Tensor map = network->weights().forward_blocks(
        pixels, blocks_of_stages(config, static_cast<std::size_t>(config.detail_stage)));
    const std::int64_t fold = detail_fold(config), channels = map.size(1);
    ASSERT_EQ(detail_channels(config), fold * fold * channels);
    at::Tensor expected = at::zeros({2, found.grid_height, found.grid_width, fold, fold, channels});
    for (std::int64_t y = 0; y < map.size(2); ++y)
      for (std::int64_t x = 0; x < map.size(3); ++x)
        expected.select(1, y / fold)
            .select(1, x / fold)
            .select(1, y % fold)
            .select(1, x % fold)
            .copy_(map.select(2, y).select(2, x));
    EXPECT_TRUE(
        at::equal(found.tokens.slice(2, config.head_channels), expected.flatten(3).flatten(1, 2)))
        << "round " << round;
    EXPECT_EQ(found.pooled.size(1), config.head_channels);
    EXPECT_LT(relative_error(found.pooled, found.tokens.slice(2, 0, config.head_channels).mean(1)),
              1e-5);
  }
}

class SmallNetwork : public ::testing::Test {
 protected:
  SmallNetwork() : network_((torch::manual_seed(5), random_network(config()))) {}

  static EfficientNetConfig config() {
    EfficientNetConfig config;
    config.stem_channels = 8;
    config.head_channels = 24;
    config.num_classes = 5;
    config.stages = {{BlockKind::kConv, 1, 3, 1, 8, 8, 1, 0},
                     {BlockKind::kMBConv, 4, 3, 2, 8, 16, 2, 0.25}};
    return config;
  }
  EfficientNet network_;
};

TEST_F(SmallNetwork, CompilesToACopyThatTrainingDoesNotTouch) {
  const CompiledEfficientNet compiled = network_->compile(nn::Precision::kFp32);
  const at::Tensor pixels = at::randn({1, 3, 32, 32});
  const at::Tensor before = compiled.forward_features(pixels).tokens;
  {
    const c10::NoGradGuard no_grad;
    for (at::Tensor& parameter : network_->parameters()) parameter.zero_();
  }
  EXPECT_TRUE(at::equal(before, compiled.forward_features(pixels).tokens));
}

TEST_F(SmallNetwork, LeavesItsInputAlone) {
  const CompiledEfficientNet compiled = network_->compile(nn::Precision::kFp32);
  for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    const at::Tensor pixels = at::randn({2, 3, 32, 32}).contiguous(format);
    const at::Tensor copy = pixels.clone();
    compiled.forward_features(pixels);
    EXPECT_TRUE(at::equal(pixels, copy));
  }
}

TEST_F(SmallNetwork, GivesABatchWhatItsImagesGiveAlone) {
  const CompiledEfficientNet compiled = network_->compile(nn::Precision::kFp32);
  const at::Tensor pixels = at::randn({5, 3, 45, 32});
  const at::Tensor together = compiled.forward_features(pixels).tokens;
  for (std::int64_t i = 0; i < 5; ++i)
    EXPECT_LT(
        relative_error(compiled.forward_features(pixels.slice(0, i, i + 1)).tokens[0], together[i]),
        1e-5);
}

TEST_F(SmallNetwork, ServesManyThreadsAtOnce) {
  const CompiledEfficientNet compiled = network_->compile(nn::Precision::kFp32);
  const at::Tensor pixels = at::randn({1, 3, 64, 64});
  const at::Tensor alone = compiled.forward_features(pixels).pooled;
  std::vector<at::Tensor> results(4);
  {
    std::vector<std::jthread> threads;
    for (at::Tensor& result : results)
      threads.emplace_back([&] {
        for (int i = 0; i < 10; ++i) result = compiled.forward_features(pixels).pooled;
      });
  }
  for (const at::Tensor& result : results) EXPECT_LT(relative_error(result, alone), 1e-5);
}

TEST_F(SmallNetwork, ArrangesTokensRowByRow) {
  const at::Tensor pixels = at::randn({1, 3, 32, 64});
  const VisionOutput output = network_->forward_features(pixels);
  EXPECT_EQ(output.grid_height, 8);
  EXPECT_EQ(output.grid_width, 16);
  EXPECT_EQ(output.tokens.sizes(), (std::vector<std::int64_t>{1, 128, 24}));
  // What changes at the right edge of the picture changes the last token of each row and leaves the
  // first: squeeze-and-excitation aside, which sees all.
  EfficientNetConfig without_se = config();
  without_se.stages[1].se_ratio = 0;
  const EfficientNet local = random_network(without_se);
  at::Tensor changed = pixels.clone();
  changed.slice(3, 60, 64) += 3;
  const at::Tensor difference =
      (local->forward_features(changed).tokens - local->forward_features(pixels).tokens)
          .abs()
          .amax(-1)
          .view({8, 16});
  EXPECT_GT(difference.select(1, 15).min().item<double>(), 0);
  EXPECT_EQ(difference.select(1, 0).max().item<double>(), 0);
}

TEST_F(SmallNetwork, TrainsEveryParameter) {
  network_->train();
  network_->forward(at::randn({4, 3, 32, 32})).square().sum().backward();
  for (const auto& parameter : network_->named_parameters()) {
    ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
    EXPECT_GT(parameter.value().grad().abs().sum().item<double>(), 0) << parameter.key();
  }
}

TEST_F(SmallNetwork, GathersBatchStatisticsWhileTraining) {
  const auto statistics = [&] {
    return nn::state_dict_of(*network_).at("stem.norm.running_mean").clone();
  };
  const at::Tensor before = statistics();
  network_->forward(at::randn({4, 3, 32, 32}));
  EXPECT_TRUE(at::equal(before, statistics()));
  network_->train();
  network_->forward(at::randn({4, 3, 32, 32}));
  EXPECT_FALSE(at::equal(before, statistics()));
}

TEST_F(SmallNetwork, RefusesWhatIsNoPicture) {
  const CompiledEfficientNet compiled = network_->compile(nn::Precision::kFp32);
  for (const at::Tensor& wrong :
       {at::randn({3, 32, 32}), at::randn({1, 4, 32, 32}), at::randn({1, 3, 0, 32}),
        at::randn({1, 3, 32, 32}).to(at::kDouble), at::Tensor()}) {
    EXPECT_THROW(compiled.forward_features(wrong), Error);
    EXPECT_THROW(network_->forward_features(wrong), Error);
  }
}

TEST(EfficientNet, HasNoLogitsWithoutAClassifier) {
  EfficientNetConfig config;
  config.num_classes = 0;
  config.stages = {{BlockKind::kMBConv, 1, 3, 1, 32, 16, 1, 0.25}};
  const EfficientNet network = random_network(config);
  const at::Tensor pooled = at::randn({1, config.head_channels});
  EXPECT_THROW(network->classify(pooled), Error);
  EXPECT_THROW(network->compile(nn::Precision::kFp32).classify(pooled), Error);
}

}  // namespace
}  // namespace bifocal::vision
