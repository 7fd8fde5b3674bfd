#include "text/bert.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "forced_kernels.h"
#include "nn/pooling.h"

namespace bifocal::text {
namespace {

double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)).item<double>();
}

at::Tensor valid_of(const std::vector<std::int64_t>& lengths, std::int64_t positions) {
  return at::arange(positions).unsqueeze(0) < at::tensor(lengths).unsqueeze(1);
}

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

std::int64_t parameters_of(const torch::nn::Module& module) {
  std::int64_t count = 0;
  for (const auto& parameter : module.parameters()) count += parameter.numel();
  return count;
}

BertConfig tiny() {
  BertConfig config;
  config.vocab_size = 40;
  config.hidden_size = 12;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  config.intermediate_size = 20;
  config.max_position_embeddings = 24;
  config.max_tokens = 24;
  return config;
}

// Calls `check(bert, ids, types, valid)` for random configs, weights and right-padded inputs.
void for_each_bert(const auto& check) {
  at::manual_seed(11);
  std::mt19937 random(5);
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const c10::NoGradGuard no_grad;
  for (int i = 0; i < 12; ++i) {
    BertConfig config;
    config.vocab_size = between(5, 60);
    config.num_attention_heads = between(1, 5);
    config.hidden_size = config.num_attention_heads * between(2, 12);
    config.num_hidden_layers = between(1, 3);
    config.intermediate_size = between(3, 50);
    config.type_vocab_size = between(1, 3);
    config.position_offset = i % 3 == 0 ? 2 : 0;
    config.max_position_embeddings = 24;
    config.activation = static_cast<nn::Activation>(i % 4);
    SCOPED_TRACE(config.to_json().dump());
    Bert bert(config);
    randomise(*bert);
    bert->eval();
    const std::int64_t batch = between(1, 4);
    const std::int64_t longest = between(2, config.longest_sequence());
    std::vector<std::int64_t> lengths;
    for (std::int64_t b = 0; b < batch; ++b) lengths.push_back(between(1, longest));
    lengths[0] = longest;
    const auto valid = valid_of(lengths, longest);
    // Padding is id 1 where positions count it, as in XLM-R; no real token has it.
    const auto ids = at::where(valid, at::randint(2, config.vocab_size, {batch, longest}),
                               at::full({1}, 1, at::kLong));
    const auto types = at::randint(0, config.type_vocab_size, {batch, longest}, at::kLong);
    check(bert, ids, types, valid);
  }
}

TEST(Bert, CompiledAgreesWithTheModule) {
  for_each_bert(
      [](Bert& bert, const at::Tensor& ids, const at::Tensor& types, const at::Tensor& valid) {
        const auto padding = valid.logical_not().unsqueeze(-1);
        const auto expected = bert->forward(ids, types, valid).masked_fill(padding, 0);
        const auto all = bert->forward(ids, {}, {});
        std::vector<std::string> kinds = testing::own_kernels(nn::Precision::kFp32);
        kinds.emplace_back("torch");
        for (const std::string& kind : kinds) {
          SCOPED_TRACE(kind);
          const testing::ForcedKernels forced(kind);
          const auto compiled = bert->compile(nn::Precision::kFp32);
          const auto found = compiled.forward(ids, types, valid).masked_fill(padding, 0);
          EXPECT_LT(relative_error(found, expected), 1e-4);
          EXPECT_LT(relative_error(compiled.forward(ids, {}, {}), all), 1e-4);
        }
      });
}

TEST(Bert, ABatchGivesWhatItsTextsGiveAlone) {
  for_each_bert([](Bert& bert, const at::Tensor& ids, const at::Tensor& types,
                   const at::Tensor& valid) {
    const auto together = bert->forward(ids, types, valid);
    for (std::int64_t b = 0; b < ids.size(0); ++b) {
      const auto length = valid[b].sum().item<std::int64_t>();
      const auto item = [&](const at::Tensor& x) { return x.narrow(0, b, 1).narrow(1, 0, length); };
      EXPECT_LT(relative_error(item(together), bert->forward(item(ids), item(types), {})), 1e-5);
    }
  });
}

// The cosine of each text's vector with that of float32; networks this small differ most.
TEST(Bert, InIntegersATextsVectorStaysNearThatOfFloat32) {
  for (const std::string& kind : testing::own_kernels(nn::Precision::kInt8)) {
    const testing::ForcedKernels forced(kind);
    for_each_bert([&](Bert& bert, const at::Tensor& ids, const at::Tensor& types,
                      const at::Tensor& valid) {
      const auto vectors = [&](const at::Tensor& tokens) {
        return nn::pool(tokens, valid, nn::Pooling::kMean);
      };
      const auto expected = vectors(bert->forward(ids, types, valid));
      const auto found = vectors(bert->compile(nn::Precision::kInt8).forward(ids, types, valid));
      const auto cosines = (found * expected).sum(1) / (found.norm(2, 1) * expected.norm(2, 1));
      EXPECT_GT(cosines.min().item<double>(), 0.995) << kind;
    });
  }
}

TEST(Bert, WithoutKernelsOfIntegersTheLayersStayFloat32) {
  const testing::ForcedKernels forced("torch");
  for_each_bert(
      [](Bert& bert, const at::Tensor& ids, const at::Tensor& types, const at::Tensor& valid) {
        EXPECT_TRUE(bert->compile(nn::Precision::kInt8)
                        .forward(ids, types, valid)
                        .equal(bert->compile(nn::Precision::kFp32).forward(ids, types, valid)));
      });
}

TEST(Bert, CompiledGivesATextTheSameBitsAloneAndInAnyBatch) {
  for (const auto precision : nn::kPrecisions) {
    for (const std::string& kind : testing::own_kernels(precision)) {
      const testing::ForcedKernels forced(kind);
      for_each_bert(
          [&](Bert& bert, const at::Tensor& ids, const at::Tensor& types, const at::Tensor& valid) {
            const auto compiled = bert->compile(precision);
            const auto together = compiled.forward(ids, types, valid);
            const auto pooled = nn::pool(together, valid, nn::Pooling::kMean);
            for (std::int64_t b = 0; b < ids.size(0); ++b) {
              const auto length = valid[b].sum().item<std::int64_t>();
              const auto item = [&](const at::Tensor& x) {
                return x.narrow(0, b, 1).narrow(1, 0, length);
              };
              const auto alone = compiled.forward(item(ids), item(types), {});
              EXPECT_TRUE(alone.equal(item(together))) << kind;
              EXPECT_TRUE(nn::pool(alone, {}, nn::Pooling::kMean)[0].equal(pooled[b])) << kind;
            }
          });
    }
  }
}

TEST(Bert, PaddingNeverLeaks) {
  for_each_bert(
      [](Bert& bert, const at::Tensor& ids, const at::Tensor& types, const at::Tensor& valid) {
        const auto other = at::randint_like(ids, 0, bert->config().vocab_size);
        const auto padding = valid.logical_not().unsqueeze(-1);
        const auto found = bert->forward(at::where(valid, ids, other), types, valid);
        EXPECT_LT(relative_error(found.masked_fill(padding, 0),
                                 bert->forward(ids, types, valid).masked_fill(padding, 0)),
                  1e-5);
      });
}

TEST(Bert, AbsentTypesAreZeros) {
  for_each_bert([](Bert& bert, const at::Tensor& ids, const at::Tensor&, const at::Tensor& valid) {
    EXPECT_TRUE(at::allclose(bert->forward(ids, {}, valid),
                             bert->forward(ids, at::zeros_like(ids), valid), 1e-5, 1e-6));
  });
}

TEST(Bert, OrderOfTokensMatters) {
  const c10::NoGradGuard no_grad;
  Bert bert(tiny());
  randomise(*bert);
  bert->eval();
  const auto ids = at::arange(1, 9).unsqueeze(0);
  EXPECT_GT(relative_error(bert->forward(ids.flip(1), {}, {}).flip(1), bert->forward(ids, {}, {})),
            1e-2);
}

TEST(Bert, WithAnOffsetLeftPaddingGivesWhatRightPaddingGives) {
  const c10::NoGradGuard no_grad;
  BertConfig config = tiny();
  config.position_offset = 2;
  Bert bert(config);
  randomise(*bert);
  bert->eval();
  const auto text = at::randint(3, 40, {1, 6}, at::kLong);
  const auto padding = at::full({1, 4}, 1, at::kLong);
  const auto left = at::cat({padding, text}, 1);
  const auto right = at::cat({text, padding}, 1);
  EXPECT_LT(relative_error(bert->forward(left, {}, left.ne(1)).narrow(1, 4, 6),
                           bert->forward(right, {}, right.ne(1)).narrow(1, 0, 6)),
            1e-5);
}

TEST(Bert, InputOutOfRangeIsRefused) {
  BertConfig config = tiny();
  config.position_offset = 2;
  Bert bert(config);
  bert->eval();
  const auto compiled = bert->compile(nn::Precision::kFp32);
  const auto refused = [&](const at::Tensor& ids, const at::Tensor& types,
                           const at::Tensor& valid) {
    try {
      compiled.forward(ids, types, valid);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  const auto ids = at::full({1, 22}, 3, at::kLong);
  EXPECT_FALSE(refused(ids, {}, {}));
  EXPECT_TRUE(refused(at::full({1, 23}, 3, at::kLong), {}, {})) << "one more than the table allows";
  EXPECT_TRUE(refused(at::full({1, 2}, 40, at::kLong), {}, {}));
  EXPECT_TRUE(refused(at::full({1, 2}, -1, at::kLong), {}, {}));
  EXPECT_TRUE(refused(ids, at::full_like(ids, 2), {}));
  EXPECT_TRUE(refused(ids, {}, at::full({1, 21}, true)));
  EXPECT_TRUE(refused(at::full({2}, 3, at::kLong), {}, {}));
  EXPECT_TRUE(refused(at::zeros({1, 0}, at::kLong), {}, {}));
}

TEST(Bert, CostCountsTheModulesParameters) {
  for_each_bert([](Bert& bert, const at::Tensor&, const at::Tensor&, const at::Tensor&) {
    EXPECT_EQ(cost(bert->config(), 7).parameters, parameters_of(*bert));
  });
}

TEST(Bert, CostOfPublishedModelsIsThePublishedOne) {
  const BertConfig base;
  EXPECT_EQ(cost(base, 128).parameters, 109'482'240 - (768 * 768 + 768)) << "less the pooler";
  EXPECT_NEAR(static_cast<double>(cost(base, 128).multiply_adds), 22.35e9 / 2, 0.05e9);
  BertConfig minilm;
  minilm.hidden_size = 384;
  minilm.num_hidden_layers = 6;
  minilm.intermediate_size = 1536;
  EXPECT_NEAR(static_cast<double>(cost(minilm, 128).multiply_adds), 2.87e9 / 2, 0.05e9);
}

}  // namespace
}  // namespace bifocal::text
