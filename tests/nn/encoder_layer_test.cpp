#include "nn/encoder_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::nn {
namespace {

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)).item<double>();
}

// valid [B, S] with `lengths[b]` leading true.
at::Tensor valid_of(const std::vector<std::int64_t>& lengths, std::int64_t positions) {
  const auto index = at::arange(positions).unsqueeze(0);
  return index < at::tensor(lengths).unsqueeze(1);
}

// Norms that do something, weights of a size at which attention is not uniform.
void randomise(torch::nn::Module& module) {
  const c10::NoGradGuard no_grad;
  for (auto& parameter : module.named_parameters()) {
    auto& tensor = parameter.value();
    const double size =
        tensor.dim() == 2 ? 2.0 / std::sqrt(static_cast<double>(tensor.size(1))) : 0.3;
    tensor.copy_(at::randn(tensor.sizes()) * size +
                 (parameter.key().ends_with("norm.weight") ? 1.0 : 0.0));
  }
}

struct Case {
  EncoderLayerConfig config;
  std::int64_t batch;
  std::int64_t positions;
};

std::vector<Case> random_cases() {
  std::mt19937 random(7);
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  std::vector<Case> cases;
  for (int i = 0; i < 24; ++i) {
    EncoderLayerConfig config;
    config.num_attention_heads = between(1, 6);
    config.hidden_size = config.num_attention_heads * between(1, 20);
    config.intermediate_size = between(1, 90);
    config.norm = i % 2 == 0 ? NormPlacement::kPost : NormPlacement::kPre;
    config.activation = static_cast<Activation>(i % 5);
    config.layer_norm_eps = i % 3 == 0 ? 1e-12 : 1e-5;
    config.dropout = 0.5;
    cases.push_back({config, between(1, 4), between(1, 30)});
  }
  return cases;
}

class EncoderLayerProperty : public ::testing::Test {
 protected:
  // Calls `check(layer, x, valid)` for random layers in eval mode.
  void for_each(const auto& check) {
    at::manual_seed(3);
    const c10::NoGradGuard no_grad;
    for (const Case& entry : random_cases()) {
      SCOPED_TRACE("d " + std::to_string(entry.config.hidden_size) + ", heads " +
                   std::to_string(entry.config.num_attention_heads) + ", positions " +
                   std::to_string(entry.positions));
      EncoderLayer layer(entry.config);
      randomise(*layer);
      layer->eval();
      std::vector<std::int64_t> lengths;
      for (std::int64_t b = 0; b < entry.batch; ++b) {
        lengths.push_back(1 + (entry.positions - 1) * (b + 1) / (b + 2));
      }
      check(layer, at::randn({entry.batch, entry.positions, entry.config.hidden_size}),
            valid_of(lengths, entry.positions));
    }
  }
};

TEST_F(EncoderLayerProperty, CompiledAgreesWithTheModule) {
  for_each([](EncoderLayer& layer, const at::Tensor& x, const at::Tensor& valid) {
    const c10::InferenceMode inference;
    const auto compiled = layer->weights().compiled(Precision::kFp32);
    EXPECT_LT(relative_error(compiled.forward(x, valid), layer->forward(x, valid)), 1e-4);
    EXPECT_LT(relative_error(compiled.forward(x, {}), layer->forward(x, {})), 1e-4);
    EXPECT_LT(relative_error(compiled.forward_first(x, valid), layer->forward_first(x, valid)),
              1e-4);
  });
}

// Eight bits of mantissa in what is multiplied: 2^-8 an operand, and residual and norms in float32
// keep it from growing.
TEST_F(EncoderLayerProperty, InBfloat16ItStaysWithinItsRounding) {
  for_each([](EncoderLayer& layer, const at::Tensor& x, const at::Tensor& valid) {
    const c10::InferenceMode inference;
    const auto compiled = layer->weights().compiled(Precision::kBf16);
    const at::Tensor output = compiled.forward(x, valid);
    EXPECT_EQ(output.scalar_type(), at::kFloat);
    EXPECT_LT(relative_error(output, layer->forward(x, valid)), 8e-2);
  });
}

TEST_F(EncoderLayerProperty, FirstIsTheFirstOfAll) {
  for_each([](EncoderLayer& layer, const at::Tensor& x, const at::Tensor& valid) {
    EXPECT_LT(
        relative_error(layer->forward_first(x, valid), layer->forward(x, valid).narrow(1, 0, 1)),
        1e-5);
  });
}

TEST_F(EncoderLayerProperty, PaddingNeverLeaks) {
  for_each([](EncoderLayer& layer, const at::Tensor& x, const at::Tensor& valid) {
    const auto kept = valid.unsqueeze(-1);
    const auto disturbed = at::where(kept, x, at::randn_like(x) * 100);
    const auto expected = layer->forward(x, valid).masked_fill(kept.logical_not(), 0);
    const auto found = layer->forward(disturbed, valid).masked_fill(kept.logical_not(), 0);
    EXPECT_LT(relative_error(found, expected), 1e-5);
  });
}

TEST_F(EncoderLayerProperty, ABatchGivesWhatItsItemsGiveAlone) {
  for_each([](EncoderLayer& layer, const at::Tensor& x, const at::Tensor& valid) {
    const auto together = layer->forward(x, valid);
    for (std::int64_t b = 0; b < x.size(0); ++b) {
      const auto length = valid[b].sum().item<std::int64_t>();
      const auto alone = layer->forward(x.narrow(0, b, 1).narrow(1, 0, length), {});
      EXPECT_LT(relative_error(together.narrow(0, b, 1).narrow(1, 0, length), alone), 1e-5);
    }
  });
}

TEST_F(EncoderLayerProperty, WithoutPositionsOrderNeverMatters) {
  for_each([](EncoderLayer& layer, const at::Tensor& x, const at::Tensor&) {
    const auto order = at::randperm(x.size(1));
    EXPECT_LT(relative_error(layer->forward(x.index_select(1, order), {}),
                             layer->forward(x, {}).index_select(1, order)),
              1e-5);
  });
}

TEST(EncoderLayer, AttentionIsThatOfThePaper) {
  const c10::NoGradGuard no_grad;
  EncoderLayerConfig config;
  config.hidden_size = 12;
  config.num_attention_heads = 3;
  config.intermediate_size = 5;
  SelfAttention attention(config);
  randomise(*attention);
  const auto x = at::randn({1, 7, 12});
  const auto qkv = at::linear(x, attention->qkv->weight, attention->qkv->bias)[0].chunk(3, -1);
  std::vector<at::Tensor> heads;
  for (std::int64_t head = 0; head < 3; ++head) {
    const auto part = [&](std::size_t which) { return qkv[which].narrow(1, 4 * head, 4); };
    heads.push_back(
        at::matmul(at::softmax(at::matmul(part(0), part(1).t()) / std::sqrt(4.0), -1), part(2)));
  }
  const auto expected =
      at::linear(at::cat(heads, -1), attention->out->weight, attention->out->bias);
  EXPECT_LT(relative_error(attention->forward(x, {})[0], expected), 1e-5);
}

TEST(EncoderLayer, EveryParameterLearns) {
  for (const auto norm : {NormPlacement::kPost, NormPlacement::kPre}) {
    EncoderLayerConfig config;
    config.hidden_size = 8;
    config.num_attention_heads = 2;
    config.intermediate_size = 6;
    config.norm = norm;
    EncoderLayer layer(config);
    const auto x = at::randn({2, 5, 8});
    (layer->forward(x, valid_of({5, 3}, 5)) * at::randn({2, 5, 8})).sum().backward();
    for (const auto& parameter : layer->named_parameters()) {
      ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
      EXPECT_GT(parameter.value().grad().abs().max().item<float>(), 0) << parameter.key();
    }
  }
}

TEST(EncoderLayer, DropoutIsOfTrainingAlone) {
  EncoderLayerConfig config;
  config.hidden_size = 16;
  config.num_attention_heads = 2;
  config.intermediate_size = 16;
  config.dropout = 0.5;
  EncoderLayer layer(config);
  const auto x = at::randn({1, 6, 16});
  layer->train();
  EXPECT_FALSE(at::allclose(layer->forward(x, {}), layer->forward(x, {})));
  layer->eval();
  EXPECT_TRUE(at::allclose(layer->forward(x, {}), layer->forward(x, {})));
}

TEST(EncoderLayer, ACompiledCopyStaysAsItWas) {
  EncoderLayerConfig config;
  config.hidden_size = 16;
  config.num_attention_heads = 2;
  config.intermediate_size = 16;
  EncoderLayer layer(config);
  layer->eval();
  const c10::InferenceMode inference;
  const auto compiled = layer->weights().compiled(Precision::kFp32);
  const auto x = at::randn({1, 6, 16});
  const auto before = compiled.forward(x, {});
  {
    const c10::InferenceMode normal(false);
    const c10::NoGradGuard no_grad;
    for (auto& parameter : layer->parameters()) parameter.add_(1);
  }
  EXPECT_TRUE(compiled.forward(x, {}).equal(before));
}

TEST(EncoderLayer, ACompiledCopyServesManyThreads) {
  EncoderLayerConfig config;
  config.hidden_size = 24;
  config.num_attention_heads = 3;
  config.intermediate_size = 40;
  EncoderLayer layer(config);
  layer->eval();
  EncoderLayerWeights compiled;
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> expected;
  {
    const c10::InferenceMode inference;
    compiled = layer->weights().compiled(Precision::kFp32);
    for (std::int64_t length = 1; length <= 16; ++length) {
      inputs.push_back(at::randn({1, length, 24}));
      expected.push_back(compiled.forward(inputs.back(), {}));
    }
  }
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      const c10::InferenceMode inference;
      for (std::size_t i = 0; i < 64; ++i) {
        const std::size_t which = (i * (t + 1)) % inputs.size();
        const auto found = compiled.forward(inputs[which], {});
        wrong[t] += at::allclose(found, expected[which], 1e-4, 1e-5) ? 0 : 1;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(EncoderLayer, SizesThatCannotBeAreRefused) {
  EncoderLayerConfig config;
  config.hidden_size = 10;
  config.num_attention_heads = 3;
  config.intermediate_size = 4;
  EXPECT_THROW(EncoderLayer{config}, Error);
  config.num_attention_heads = 0;
  EXPECT_THROW(EncoderLayer{config}, Error);
}

TEST(Activation, NamesRoundTrip) {
  for (int i = 0; i < 5; ++i) {
    const auto activation = static_cast<Activation>(i);
    EXPECT_EQ(activation_from_name(name_of(activation)), activation);
  }
  EXPECT_THROW(activation_from_name("gelu_10"), Error);
}

TEST(Activation, ValuesAreThoseOfTheFormulas) {
  for (const double x : {-7.0, -1.5, -0.1, 0.0, 0.3, 2.0, 6.5}) {
    const auto value = [x](Activation activation) {
      return activate(at::full({1}, x), activation).item<double>();
    };
    EXPECT_NEAR(value(Activation::kGeluErf), x * 0.5 * (1 + std::erf(x / std::sqrt(2.0))), 1e-5);
    EXPECT_NEAR(value(Activation::kGeluTanh),
                0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))), 1e-5);
    EXPECT_NEAR(value(Activation::kSilu), x / (1 + std::exp(-x)), 1e-5);
    EXPECT_NEAR(value(Activation::kRelu), std::max(x, 0.0), 1e-6);
    EXPECT_NEAR(value(Activation::kRelu6), std::clamp(x, 0.0, 6.0), 1e-6);
  }
}

}  // namespace
}  // namespace bifocal::nn
