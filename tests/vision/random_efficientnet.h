#pragma once

#include <c10/core/GradMode.h>

#include <random>

#include "vision/efficientnet.h"

namespace bifocal::vision {

template <typename T>
T one_of(std::mt19937& random, std::initializer_list<T> values) {
  return *(values.begin() +
           std::uniform_int_distribution<std::size_t>(0, values.size() - 1)(random));
}

// A small network of any shape that check() allows.
inline EfficientNetConfig random_config(std::mt19937& random) {
  EfficientNetConfig config;
  config.name = "random";
  config.stem_channels = one_of<std::int64_t>(random, {5, 8, 16});
  config.head_channels = one_of<std::int64_t>(random, {12, 32, 40});
  config.image_size = one_of<std::int64_t>(random, {32, 64});
  config.activation = one_of(random, {ConvActivation::kSilu, ConvActivation::kRelu6});
  config.padding = one_of(random, {Padding::kSame, Padding::kSymmetric});
  config.batch_norm_eps = one_of(random, {1e-3, 1e-5});
  config.num_classes = one_of<std::int64_t>(random, {0, 7});
  std::int64_t channels = config.stem_channels;
  const int stages = one_of(random, {1, 2, 4});
  for (int i = 0; i < stages; ++i) {
    StageConfig stage;
    stage.kind = one_of(random, {BlockKind::kMBConv, BlockKind::kFusedMBConv, BlockKind::kConv});
    stage.expand_ratio = one_of(random, {1.0, 1.5, 4.0, 6.0});
    stage.kernel = one_of<std::int64_t>(random, {3, 5, 7});
    stage.stride = one_of<std::int64_t>(random, {1, 2, 2, 3});
    stage.in_channels = channels;
    stage.out_channels = one_of<std::int64_t>(random, {6, 8, 16, 24, channels});
    stage.layers = one_of<std::int64_t>(random, {1, 2, 3});
    stage.se_ratio = one_of(random, {0.0, 0.25, 0.5});
    channels = stage.out_channels;
    config.stages.push_back(stage);
  }
  config.detail_stage = std::uniform_int_distribution<std::int64_t>(0, stages)(random);
  return config;
}

// In eval mode, with batch statistics as if it had been trained: no mean 0, no variance 1.
inline EfficientNet random_network(const EfficientNetConfig& config) {
  EfficientNet network(config);
  const c10::NoGradGuard no_grad;
  for (const auto& module : network->modules())
    if (auto* norm = module->as<torch::nn::BatchNorm2d>()) {
      norm->weight.uniform_(0.5, 1.5);
      norm->bias.normal_(0, 0.3);
      norm->running_mean.normal_(0, 0.3);
      norm->running_var.uniform_(0.3, 2.0);
    }
  network->eval();
  return network;
}

}  // namespace bifocal::vision
