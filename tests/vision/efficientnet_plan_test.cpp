#include "vision/efficientnet_plan.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "forced_kernels.h"
#include "nn/cpu/team.h"
#include "random_efficientnet.h"

namespace bifocal::vision {
namespace {

using bifocal::testing::ForcedKernels;
using bifocal::testing::own_kernels;

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  if (found.sizes() != expected.sizes()) return 1e9;
  return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12)).item<double>();
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

class EfficientNetPlanProperty : public ::testing::Test {
 protected:
  EfficientNetPlanProperty() { at::manual_seed(17); }

  std::int64_t between(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  at::Tensor random_pixels(std::int64_t images, std::int64_t most) {
    return at::randn({images, 3, between(1, most), between(1, most)});
  }

  using Check = std::function<void(const EfficientNet&, const CompiledEfficientNet&)>;
  // For each table of a precision that runs here.
  static void for_each_table(const EfficientNet& network, nn::Precision precision,
                             const Check& check) {
    for (const std::string& name : own_kernels(precision)) {
      SCOPED_TRACE(name + ", " + std::string(nn::name_of(precision)));
      const ForcedKernels forced(name);
      check(network, network->compile(precision));
    }
  }
  static void for_each_table(const EfficientNetConfig& config, const Check& check) {
    const EfficientNet network = random_network(config);
    for (const nn::Precision precision : {nn::Precision::kFp32, nn::Precision::kBf16})
      for_each_table(network, precision, check);
  }
  void agrees(const EfficientNetConfig& config, std::int64_t most_pixels) {
    const at::Tensor pixels = random_pixels(between(1, 2), most_pixels);
    SCOPED_TRACE(described(config, pixels));
    const EfficientNet network = random_network(config);
    const c10::InferenceMode guard;
    const VisionOutput expected = network->forward_features(pixels);
    const auto error = [&](const VisionOutput& found) {
      return std::max(relative_error(found.tokens, expected.tokens),
                      relative_error(found.pooled, expected.pooled));
    };
    for_each_table(network, nn::Precision::kFp32, [&](const auto&, const auto& compiled) {
      const VisionOutput found = compiled.forward_features(pixels);
      ASSERT_EQ(found.grid_height, expected.grid_height);
      ASSERT_EQ(found.grid_width, expected.grid_width);
      ASSERT_LT(error(found), 1e-4);
    });
    // 2^-8 an operand of one product after another; random weights amplify it.
    for_each_table(network, nn::Precision::kBf16, [&](const auto&, const auto& compiled) {
      const VisionOutput found = compiled.forward_features(pixels);
      const at::Tensor difference = found.tokens - expected.tokens;
      const double distance = (difference.norm() / expected.tokens.norm()).template item<double>();
      ASSERT_LT(distance, 5e-2);
    });
  }
  static std::string described(const EfficientNetConfig& config, const at::Tensor& pixels) {
    return config.name + " on " + std::to_string(pixels.size(2)) + " x " +
           std::to_string(pixels.size(3));
  }

  std::mt19937 random_{23};
};

TEST_F(EfficientNetPlanProperty, InInt8ItIsThatOfFloat32) {
  const EfficientNet network = random_network(random_config(random_));
  const at::Tensor pixels = random_pixels(2, 60);
  for (const char* kernels : {"portable", "torch"}) {
    const ForcedKernels forced(kernels);
    const VisionOutput expected = network->compile(nn::Precision::kFp32).forward_features(pixels);
    const VisionOutput found = network->compile(nn::Precision::kInt8).forward_features(pixels);
    EXPECT_TRUE(found.tokens.equal(expected.tokens)) << kernels;
    EXPECT_TRUE(found.pooled.equal(expected.pooled)) << kernels;
  }
}

TEST_F(EfficientNetPlanProperty, AgreesWithTheModuleForAnyConfig) {
  for (int round = 0; round < 200; ++round) {
    SCOPED_TRACE(round);
    agrees(random_config(random_), 60);
    if (HasFatalFailure()) return;
  }
}

// Two layers a stage: random weights make deeper networks amplify any rounding a hundredfold.
TEST_F(EfficientNetPlanProperty, AgreesWithTheModuleForEachFamily) {
  for (const char* name :
       {"efficientnet-b0", "efficientnet-b2", "efficientnet-b4", "efficientnet-lite0",
        "efficientnet-lite3", "efficientnetv2-b0", "efficientnetv2-b2", "efficientnetv2-s"}) {
    EfficientNetConfig config = efficientnet(name);
    for (StageConfig& stage : config.stages) stage.layers = std::min<std::int64_t>(stage.layers, 2);
    for (const Padding padding : {Padding::kSame, Padding::kSymmetric}) {
      config.padding = padding;
      agrees(config, 140);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_F(EfficientNetPlanProperty, AnImageHasTheSameBitsAloneAndInAnyBatch) {
  for (int round = 0; round < 20; ++round) {
    const at::Tensor pixels = random_pixels(between(2, 6), 70);
    for_each_table(random_config(random_), [&](const auto&, const CompiledEfficientNet& compiled) {
      const VisionOutput together = compiled.forward_features(pixels);
      const VisionOutput turned = compiled.forward_features(pixels.flip(0));
      const VisionOutput last_first =
          compiled.forward_features(pixels.contiguous(at::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(same_bits(last_first.tokens, together.tokens));
      for (std::int64_t i = 0; i < pixels.size(0); ++i) {
        const VisionOutput alone = compiled.forward_features(pixels.slice(0, i, i + 1));
        ASSERT_TRUE(same_bits(alone.tokens[0], together.tokens[i]));
        ASSERT_TRUE(same_bits(alone.pooled[0], together.pooled[i]));
        ASSERT_TRUE(same_bits(alone.tokens[0], turned.tokens[pixels.size(0) - 1 - i]));
        ASSERT_TRUE(same_bits(alone.pooled[0], turned.pooled[pixels.size(0) - 1 - i]));
      }
    });
  }
}

TEST_F(EfficientNetPlanProperty, ATeamGivesTheSameBits) {
  for (int round = 0; round < 20; ++round) {
    const at::Tensor pixels = random_pixels(1, 90);
    for_each_table(random_config(random_), [&](const auto&, const CompiledEfficientNet& compiled) {
      const VisionOutput alone = compiled.forward_features(pixels);
      const nn::cpu::Team team(3);
      const VisionOutput shared = compiled.forward_features(pixels);
      ASSERT_TRUE(same_bits(shared.tokens, alone.tokens));
      ASSERT_TRUE(same_bits(shared.pooled, alone.pooled));
    });
  }
}

TEST_F(EfficientNetPlanProperty, PoisonStaysInItsImage) {
  EfficientNetConfig config = random_config(random_);
  config.detail_stage = 0;  // zeros where a map ends are numbers
  for_each_table(config, [&](const auto&, const CompiledEfficientNet& compiled) {
    at::Tensor pixels = at::randn({3, 3, 40, 40});
    const at::Tensor clean = compiled.forward_features(pixels).tokens;
    pixels[1].fill_(std::nan(""));
    const VisionOutput found = compiled.forward_features(pixels);
    EXPECT_TRUE(same_bits(found.tokens[0], clean[0]));
    EXPECT_TRUE(same_bits(found.tokens[2], clean[2]));
    EXPECT_TRUE(found.tokens[1].isnan().all().item<bool>());
    EXPECT_TRUE(found.pooled[1].isnan().all().item<bool>());
  });
}

TEST_F(EfficientNetPlanProperty, ManyThreadsGetTheSameBits) {
  for_each_table(random_config(random_), [&](const auto&, const CompiledEfficientNet& compiled) {
    const at::Tensor pixels = at::randn({1, 3, 64, 48});
    const at::Tensor expected = compiled.forward_features(pixels).tokens;
    std::vector<at::Tensor> found(4);
    {
      std::vector<std::jthread> threads;
      for (at::Tensor& each : found)
        threads.emplace_back([&] {
          for (int i = 0; i < 8; ++i) each = compiled.forward_features(pixels).tokens;
        });
    }
    for (const at::Tensor& each : found) EXPECT_TRUE(same_bits(each, expected));
  });
}

// Against the definition of a convolution, pixel by pixel.
TEST(StackColumns, GivesWhatTheKernelSees) {
  std::mt19937 random(3);
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  for (int round = 0; round < 200; ++round) {
    const std::int64_t height = between(1, 9), width = between(1, 9), channels = between(1, 17);
    Conv2dGeometry geometry{2 * between(0, 3) + 1, 1, 1,
                            between(0, 1) == 0 ? Padding::kSame : Padding::kSymmetric};
    geometry.stride = std::min(geometry.kernel, between(1, 3));
    const at::Tensor image = at::randn({channels, height, width});
    const at::Tensor interleaved = image.permute({1, 2, 0}).contiguous();
    // As a map has it, and with numbers behind each pixel that are none of its channels.
    const std::int64_t stride = channels + between(0, 2);
    at::Tensor spaced = at::full({height, width, stride}, 1e9);
    spaced.slice(2, 0, channels).copy_(interleaved);
    const MapView<float> view{spaced.const_data_ptr<float>(), {height, width}, channels, stride};
    const Grid out = strided(view.size, geometry);
    const std::int64_t y = between(0, out.height - 1);
    const std::int64_t kernel = geometry.kernel;
    std::vector<float> stacked(
        static_cast<std::size_t>(stacked_columns(width, geometry) * kernel * channels));
    stack_columns(view, geometry, y, stacked.data());
    const std::int64_t top = padding_of(geometry.padding, height, kernel, geometry.stride).before;
    const std::int64_t left = padding_of(geometry.padding, width, kernel, geometry.stride).before;
    const auto values = image.accessor<float, 3>();
    for (std::int64_t x = 0; x < out.width; ++x) {
      const float* seen = stacked.data() + x * geometry.stride * kernel * channels;
      for (std::int64_t kx = 0; kx < kernel; ++kx)
        for (std::int64_t ky = 0; ky < kernel; ++ky)
          for (std::int64_t c = 0; c < channels; ++c, ++seen) {
            const std::int64_t in_y = y * geometry.stride - top + ky;
            const std::int64_t in_x = x * geometry.stride - left + kx;
            const bool there = in_y >= 0 && in_y < height && in_x >= 0 && in_x < width;
            ASSERT_EQ(*seen, there ? values[c][in_y][in_x] : 0.0f);
          }
    }
  }
}

TEST(Interleave, ReadsAnImageHoweverItLies) {
  const at::Tensor image = at::randn({3, 5, 7});
  for (const at::Tensor& each : {image, image.permute({1, 2, 0}).contiguous().permute({2, 0, 1}),
                                 image.permute({2, 1, 0}).contiguous().permute({2, 1, 0})}) {
    std::vector<float> found(3 * 5 * 7);
    interleave(
        {each.const_data_ptr<float>(), {5, 7}, 3, each.stride(0), each.stride(1), each.stride(2)},
        found.data());
    const at::Tensor expected = image.permute({1, 2, 0}).contiguous();
    EXPECT_EQ(std::memcmp(found.data(), expected.const_data_ptr<float>(), expected.nbytes()), 0);
  }
}

}  // namespace
}  // namespace bifocal::vision
