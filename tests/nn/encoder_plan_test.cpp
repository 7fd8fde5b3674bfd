#include "nn/encoder_plan.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "nn/cpu/team.h"
#include "nn/encoder_layer.h"

namespace bifocal::nn {
namespace {

void randomise(torch::nn::Module& module) {
  const c10::NoGradGuard no_grad;
  for (auto& parameter : module.named_parameters()) {
    auto& tensor = parameter.value();
    const double size =
        tensor.dim() == 2 ? 1.5 / std::sqrt(static_cast<double>(tensor.size(1))) : 0.3;
    tensor.copy_(at::randn(tensor.sizes()) * size +
                 (parameter.key().ends_with("norm.weight") ? 1.0 : 0.0));
  }
}

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)).item<double>();
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() &&
         std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

struct Input {
  std::vector<std::int64_t> offsets = {0};
  at::Tensor x;  // [offsets.back(), d]

  at::Tensor sequence(const at::Tensor& of, std::size_t i) const {
    return of.narrow(0, offsets[i], offsets[i + 1] - offsets[i]);
  }
};

at::Tensor run(const EncoderPlan& plan, const std::vector<std::int64_t>& offsets,
               const at::Tensor& x) {
  at::Tensor out = x.clone();
  plan.forward(offsets, out.mutable_data_ptr<float>(), plan.hidden_size());
  return out;
}

at::Tensor run_first(const EncoderPlan& plan, const std::vector<std::int64_t>& offsets,
                     const at::Tensor& x) {
  at::Tensor used = x.clone();
  at::Tensor first = at::randn({static_cast<std::int64_t>(offsets.size()) - 1, plan.hidden_size()});
  plan.forward_first(offsets, used.mutable_data_ptr<float>(), plan.hidden_size(),
                     first.mutable_data_ptr<float>());
  return first;
}

class EncoderPlanProperty : public ::testing::Test {
 protected:
  // Calls `check(layers, plan, input)` for random sizes, each with every table that runs here.
  void for_each(int rounds, Precision precision, const auto& check) {
    at::manual_seed(29);
    std::mt19937 random(31);
    const auto between = [&](std::int64_t low, std::int64_t high) {
      return std::uniform_int_distribution<std::int64_t>(low, high)(random);
    };
    const c10::NoGradGuard no_grad;
    for (int i = 0; i < rounds; ++i) {
      EncoderLayerConfig config;
      config.num_attention_heads = between(1, 5);
      config.hidden_size = config.num_attention_heads * between(1, 40);
      config.intermediate_size = between(1, 200);
      config.norm = i % 2 == 0 ? NormPlacement::kPost : NormPlacement::kPre;
      config.activation = static_cast<Activation>(i % 5);
      config.layer_norm_eps = i % 3 == 0 ? 1e-12 : 1e-5;
      SCOPED_TRACE("d " + std::to_string(config.hidden_size) + ", heads " +
                   std::to_string(config.num_attention_heads) + ", MLP " +
                   std::to_string(config.intermediate_size));
      std::vector<EncoderLayer> layers;
      std::vector<EncoderLayerWeights> weights;
      for (std::int64_t layer = between(1, 2); layer > 0; --layer) {
        layers.emplace_back(config);
        randomise(*layers.back());
        layers.back()->eval();
        weights.push_back(layers.back()->weights());
      }
      Input input;
      for (std::int64_t sequence = between(1, 6); sequence > 0; --sequence)
        input.offsets.push_back(input.offsets.back() + between(1, 40));
      input.x = at::randn({input.offsets.back(), config.hidden_size});
      for (const cpu::Kernels* kernels : cpu::all_kernels(precision)) {
        if (!kernels->runs_here()) continue;
        SCOPED_TRACE(std::string(kernels->name));
        check(layers, EncoderPlan(weights, *kernels), input);
      }
    }
  }

  static at::Tensor reference(const std::vector<EncoderLayer>& layers, at::Tensor x) {
    x = x.unsqueeze(0);
    for (const EncoderLayer& layer : layers) x = layer->forward(x, {});
    return x.squeeze(0);
  }
};

TEST_F(EncoderPlanProperty, AgreesWithTheModule) {
  for_each(200, Precision::kFp32,
           [](const auto& layers, const EncoderPlan& plan, const Input& input) {
             const at::Tensor found = run(plan, input.offsets, input.x);
             const at::Tensor first = run_first(plan, input.offsets, input.x);
             for (std::size_t i = 0; i + 1 < input.offsets.size(); ++i) {
               const at::Tensor expected = reference(layers, input.sequence(input.x, i));
               ASSERT_LT(relative_error(input.sequence(found, i), expected), 1e-4);
               ASSERT_LT(relative_error(first[static_cast<std::int64_t>(i)], expected[0]), 1e-4);
             }
           });
}

// 2^-8 an operand; sums, norms and the residual in float32 keep it from growing.
TEST_F(EncoderPlanProperty, InBfloat16ItStaysWithinItsRounding) {
  for_each(60, Precision::kBf16,
           [](const auto& layers, const EncoderPlan& plan, const Input& input) {
             const at::Tensor found = run(plan, input.offsets, input.x);
             for (std::size_t i = 0; i + 1 < input.offsets.size(); ++i) {
               const at::Tensor expected = reference(layers, input.sequence(input.x, i));
               EXPECT_LT(relative_error(input.sequence(found, i), expected), 8e-2);
             }
           });
}

// Half a 127th of its row's largest number an operand: networks this small average little of it.
TEST_F(EncoderPlanProperty, InIntegersItStaysWithinTheirRounding) {
  for_each(60, Precision::kInt8,
           [](const auto& layers, const EncoderPlan& plan, const Input& input) {
             const at::Tensor found = run(plan, input.offsets, input.x);
             for (std::size_t i = 0; i + 1 < input.offsets.size(); ++i) {
               const at::Tensor expected = reference(layers, input.sequence(input.x, i));
               const at::Tensor difference = input.sequence(found, i) - expected;
               EXPECT_LT((difference.norm() / expected.norm()).template item<double>(), 0.09);
             }
           });
}

TEST_F(EncoderPlanProperty, ASequenceHasTheSameBitsAloneAndInAnyBatch) {
  for (const Precision precision : kPrecisions) {
    for_each(40, precision, [](const auto&, const EncoderPlan& plan, const Input& input) {
      const at::Tensor together = run(plan, input.offsets, input.x);
      const at::Tensor first = run_first(plan, input.offsets, input.x);
      Input reversed;
      std::vector<at::Tensor> parts;
      const std::size_t count = input.offsets.size() - 1;
      for (std::size_t i = 0; i < count; ++i) {
        const at::Tensor x = input.sequence(input.x, i).contiguous();
        ASSERT_TRUE(same_bits(run(plan, {0, x.size(0)}, x), input.sequence(together, i)));
        ASSERT_TRUE(
            same_bits(run_first(plan, {0, x.size(0)}, x)[0], first[static_cast<std::int64_t>(i)]));
        ASSERT_TRUE(same_bits(first[static_cast<std::int64_t>(i)], input.sequence(together, i)[0]));
        parts.push_back(input.sequence(input.x, count - 1 - i));
        reversed.offsets.push_back(reversed.offsets.back() + parts.back().size(0));
      }
      const at::Tensor turned = run(plan, reversed.offsets, at::cat(parts, 0));
      for (std::size_t i = 0; i < count; ++i)
        ASSERT_TRUE(
            same_bits(reversed.sequence(turned, count - 1 - i), input.sequence(together, i)));
    });
  }
}

TEST_F(EncoderPlanProperty, ATeamGivesTheSameBits) {
  for (const Precision precision : kPrecisions) {
    for_each(20, precision, [](const auto&, const EncoderPlan& plan, const Input& input) {
      const at::Tensor alone = run(plan, input.offsets, input.x);
      const at::Tensor first = run_first(plan, input.offsets, input.x);
      const cpu::Team team(3);
      ASSERT_TRUE(same_bits(run(plan, input.offsets, input.x), alone));
      ASSERT_TRUE(same_bits(run_first(plan, input.offsets, input.x), first));
    });
  }
}

TEST_F(EncoderPlanProperty, PoisonStaysInItsSequence) {
  for (const Precision precision : {Precision::kFp32, Precision::kInt8}) {
    for_each(20, precision, [](const auto&, const EncoderPlan& plan, const Input& input) {
      if (input.offsets.size() < 3) return;
      at::Tensor poisoned = input.x.clone();
      poisoned[input.offsets[1]][0] = std::nan("");
      const at::Tensor found = run(plan, input.offsets, poisoned);
      const at::Tensor clean = run(plan, input.offsets, input.x);
      EXPECT_TRUE(same_bits(input.sequence(found, 0), input.sequence(clean, 0)));
      EXPECT_TRUE(input.sequence(found, 1).isnan().all().template item<bool>());
    });
  }
}

TEST_F(EncoderPlanProperty, ManyThreadsGetTheSameBits) {
  for_each(4, Precision::kFp32, [](const auto&, const EncoderPlan& plan, const Input& input) {
    const at::Tensor expected = run(plan, input.offsets, input.x);
    std::vector<at::Tensor> found(4);
    std::vector<std::thread> threads;
    for (at::Tensor& each : found)
      threads.emplace_back([&] {
        for (int round = 0; round < 8; ++round) each = run(plan, input.offsets, input.x);
      });
    for (std::thread& thread : threads) thread.join();
    for (const at::Tensor& each : found) EXPECT_TRUE(same_bits(each, expected));
  });
}

}  // namespace
}  // namespace bifocal::nn
