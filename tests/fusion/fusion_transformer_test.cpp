#include "fusion/fusion_transformer.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "forced_kernels.h"
#include "fusion_input.h"

namespace bifocal::fusion {
namespace {

void expect_same(const FusionOutput& found, const FusionOutput& expected, double tolerance) {
  EXPECT_LT(relative_error(found.context, expected.context), tolerance);
  EXPECT_LT(relative_error(found.embedding, expected.embedding), tolerance);
  ASSERT_EQ(found.vision.defined(), expected.vision.defined());
  ASSERT_EQ(found.text.defined(), expected.text.defined());
  if (found.vision.defined()) {
    EXPECT_LT(relative_error(found.vision, expected.vision), tolerance);
  }
  if (found.text.defined()) {
    EXPECT_LT(relative_error(found.text, expected.text), tolerance);
  }
  ASSERT_EQ(found.late_interaction.defined(), expected.late_interaction.defined());
  if (found.late_interaction.defined()) {  // a mean of cosines, so it may be near 0
    EXPECT_LT((found.late_interaction - expected.late_interaction).abs().max().item<double>(),
              tolerance);
  }
}

FusionInput rows(const FusionInput& input, const at::Tensor& order) {
  FusionInput picked = input;
  for (at::Tensor* tensor : {&picked.vision_tokens, &picked.vision_pooled, &picked.text_tokens,
                             &picked.text_pooled, &picked.text_valid}) {
    if (tensor->defined()) *tensor = tensor->index_select(0, order);
  }
  return picked;
}

FusionOutput rows(const FusionOutput& output, const at::Tensor& order) {
  FusionOutput picked = output;
  for (at::Tensor* tensor : {&picked.context, &picked.embedding, &picked.vision, &picked.text,
                             &picked.late_interaction}) {
    if (tensor->defined()) *tensor = tensor->index_select(0, order);
  }
  return picked;
}

void expect_compiled_agrees(const std::string& kind) {
  const testing::ForcedKernels forced(kind);
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    const auto compiled = fusion->compile(nn::Precision::kFp32);
    for (const auto& each : {input, without_image(input), without_text(input)}) {
      expect_same(compiled.forward(each), fusion->forward(each), 1e-4);
    }
    const auto both = fusion->forward(input);
    EXPECT_LT(relative_error(compiled.match(compiled.forward(input)), fusion->match(both)), 1e-4);
    for (const auto& each : {input, without_image(input), without_text(input)}) {
      for (std::size_t set = 0; set < fusion->config().label_sets.size(); ++set) {
        const auto wanted = fusion->classify(fusion->forward(each), set);
        EXPECT_LT(relative_error(compiled.classify(compiled.forward(each), set), wanted), 1e-4);
      }
    }
  });
}

TEST(FusionTransformer, CompiledAgreesWithTheModule) {
  std::vector<std::string> kinds = testing::own_kernels(nn::Precision::kFp32);
  kinds.emplace_back("torch");
  for (const std::string& kind : kinds) {
    SCOPED_TRACE(kind);
    expect_compiled_agrees(kind);
  }
}

void expect_same_bits_alone(const std::string& kind, nn::Precision precision) {
  const testing::ForcedKernels forced(kind);
  for_each_fusion([&](FusionTransformer& fusion, const FusionInput& input) {
    const auto compiled = fusion->compile(precision);
    for (const auto& each : {input, without_image(input), without_text(input)}) {
      const auto together = compiled.forward(each);
      const auto classes = compiled.classify(together, 0);
      for (std::int64_t b = 0; b < input.vision_tokens.size(0); ++b) {
        const auto row = at::tensor({b});
        const auto alone = compiled.forward(rows(each, row));
        EXPECT_TRUE(alone.context.equal(together.context[b].unsqueeze(0)));
        EXPECT_TRUE(alone.embedding.equal(together.embedding[b].unsqueeze(0)));
        EXPECT_TRUE(compiled.classify(alone, 0).equal(classes[b].unsqueeze(0)));
      }
    }
  });
}

TEST(FusionTransformer, CompiledGivesAnItemTheSameBitsAloneAndInAnyBatch) {
  for (const auto precision : nn::kPrecisions) {
    for (const std::string& kind : testing::own_kernels(precision)) {
      SCOPED_TRACE(kind);
      expect_same_bits_alone(kind, precision);
    }
  }
}

TEST(FusionTransformer, ABatchGivesWhatItsItemsGiveAlone) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    for (const auto& each : {input, without_image(input), without_text(input)}) {
      const auto together = fusion->forward(each);
      for (std::int64_t b = 0; b < input.vision_tokens.size(0); ++b) {
        const auto row = at::tensor({b});
        FusionInput alone = rows(each, row);
        if (alone.text_tokens.defined()) {  // and without its padding
          const auto length = alone.text_valid.sum().item<std::int64_t>();
          alone.text_tokens = alone.text_tokens.narrow(1, 0, length);
          alone.text_valid = at::Tensor();
        }
        expect_same(fusion->forward(alone), rows(together, row), 1e-5);
      }
    }
  });
}

TEST(FusionTransformer, OrderOfItemsNeverMatters) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    const auto order = at::randperm(input.vision_tokens.size(0));
    const auto found = fusion->forward(rows(input, order));
    expect_same(found, rows(fusion->forward(input), order), 1e-5);
    EXPECT_LT(relative_error(fusion->match(found),
                             fusion->match(fusion->forward(input)).index_select(0, order)),
              1e-4);
  });
}

TEST(FusionTransformer, PaddingNeverLeaks) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    for (const auto& each : {input, without_image(input)}) {
      FusionInput disturbed = each;
      disturbed.text_tokens = at::where(each.text_valid.unsqueeze(-1), each.text_tokens,
                                        at::randn_like(each.text_tokens) * 1e4);
      expect_same(fusion->forward(disturbed), fusion->forward(each), 1e-5);
    }
  });
}

// Training gives some of the map's tokens, with the cells that they are of.
TEST(FusionTransformer, TokensWithTheirCellsMayComeInAnyOrder) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    const auto items = input.vision_tokens.size(0);
    const auto order = at::randperm(input.vision_tokens.size(1));
    FusionInput shuffled = input;
    shuffled.vision_tokens = input.vision_tokens.index_select(1, order);
    shuffled.vision_cells = order.expand({items, order.size(0)});
    expect_same(fusion->forward(shuffled), fusion->forward(input), 1e-5);
    shuffled.vision_cells = order;
    EXPECT_THROW(fusion->forward(shuffled), Error);
  });
}

// Training shows an image with several texts, and projects it once.
TEST(FusionTransformer, SeveralItemsMayShowOneImage) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    const auto items = input.vision_tokens.size(0);
    const auto distinct = std::min<std::int64_t>(items, 2);
    const auto of_item = at::arange(items).remainder(distinct);
    for (const bool cells : {false, true}) {
      FusionInput shared = input;
      if (cells)
        shared.vision_cells =
            at::arange(input.vision_tokens.size(1)).expand({items, input.vision_tokens.size(1)});
      FusionInput repeated = shared;
      repeated.vision_tokens = input.vision_tokens.index_select(0, of_item);
      repeated.vision_pooled = input.vision_pooled.index_select(0, of_item);
      shared.vision_tokens = input.vision_tokens.narrow(0, 0, distinct);
      shared.vision_pooled = input.vision_pooled.narrow(0, 0, distinct);
      if (cells) shared.vision_cells = shared.vision_cells.narrow(0, 0, distinct);
      shared.vision_rows = of_item;
      expect_same(fusion->forward(shared), fusion->forward(repeated), 1e-5);
      expect_same(fusion->forward(without_text(shared)), fusion->forward(without_text(repeated)),
                  1e-5);
      EXPECT_THROW(fusion->compile(nn::Precision::kFp32).forward(shared), Error);
      shared.vision_rows = at::zeros({items + 1}, at::kLong);
      EXPECT_THROW(fusion->forward(shared), Error);
    }
  });
}

TEST(FusionTransformer, AFreshMatchWithCosineIsTheScaledCosine) {
  FusionConfig config;
  config.match_cosine = true;
  FusionTransformer fusion(config);
  initialise(*fusion, 3);
  fusion->eval();
  const c10::NoGradGuard no_grad;
  const auto both = fusion->forward(random_input(config, 3, 7, 7, {4, 9, 1}, 9));
  EXPECT_LT(relative_error(fusion->match(both), 20 * (both.vision * both.text).sum(-1)), 1e-5);
}

TEST(FusionTransformer, LateInteractionAddsToTheMatch) {
  FusionConfig config;
  config.match_cosine = true;
  config.match_late_interaction = true;
  FusionTransformer fusion(config);
  initialise(*fusion, 3);
  fusion->eval();
  const c10::NoGradGuard no_grad;
  const FusionInput input = random_input(config, 3, 7, 7, {4, 9, 1}, 9);
  const at::Tensor fresh = fusion->match(fusion->forward(input));
  fusion->named_parameters()["late_gain"].fill_(0.5);
  const FusionOutput both = fusion->forward(input);
  EXPECT_LE(both.late_interaction.abs().max().item<double>(), 1);  // a mean of cosines
  EXPECT_LT(relative_error(fusion->match(both), fresh + 10 * both.late_interaction), 1e-5);
  EXPECT_LT(relative_error(fusion->late_match(input), 10 * both.late_interaction), 1e-5);
  EXPECT_THROW(fusion->late_match(without_text(input)), Error);
  EXPECT_FALSE(fusion->forward(without_text(input)).late_interaction.defined());
}

// An absent side is one that is not there, whatever the rest of the request says of it.
TEST(FusionTransformer, AnAbsentSideChangesNothing) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    FusionInput image = without_text(input);
    image.text_valid = input.text_valid;
    expect_same(fusion->forward(image), fusion->forward(without_text(input)), 1e-6);
    FusionInput text = without_image(input);
    text.grid_height = 31;
    text.grid_width = 2;
    expect_same(fusion->forward(text), fusion->forward(without_image(input)), 1e-6);
    const auto output = fusion->forward(text);
    EXPECT_FALSE(output.vision.defined());
    EXPECT_EQ(output.text.defined(), fusion->config().skip);
  });
}

TEST(FusionTransformer, EveryEmbeddingHasNormOne) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    for (const auto& each : {input, without_image(input), without_text(input)}) {
      const auto output = fusion->forward(each);
      EXPECT_EQ(output.embedding.size(1), fusion->config().embedding_size);
      const auto norm = output.embedding.norm(2, -1);
      EXPECT_TRUE(at::allclose(norm, at::ones_like(norm), 1e-5, 1e-5));
    }
  });
}

TEST(FusionTransformer, BothSidesCount) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput& input) {
    const auto both = fusion->forward(input).embedding;
    EXPECT_GT(relative_error(fusion->forward(without_text(input)).embedding, both), 1e-3);
    EXPECT_GT(relative_error(fusion->forward(without_image(input)).embedding, both), 1e-3);
  });
}

TEST(FusionTransformer, WithoutGainTheEmbeddingIsTheTowersOwnVector) {
  const c10::NoGradGuard no_grad;
  FusionConfig config;
  FusionTransformer fusion(config);
  randomise(*fusion);
  fusion->eval();
  for (auto& parameter : fusion->named_parameters()) {
    if (parameter.key() == "residual_gain") parameter.value().zero_();
  }
  const auto input = random_input(config, 2, 7, 7, {3, 5}, 5);
  const auto image = fusion->forward(without_text(input));
  EXPECT_LT(relative_error(image.embedding, image.vision), 1e-5);
  const auto text = fusion->forward(without_image(input));
  EXPECT_LT(relative_error(text.embedding, text.text), 1e-5);
}

TEST(FusionTransformer, TheGainIsThatOfTheMode) {
  const c10::NoGradGuard no_grad;
  FusionConfig config;
  FusionTransformer fusion(config);
  randomise(*fusion);
  fusion->eval();
  const auto input = random_input(config, 2, 7, 7, {3, 5}, 5);
  const FusionInput modes[] = {without_text(input), without_image(input), input};
  at::Tensor gain = fusion->named_parameters()["residual_gain"];
  for (std::int64_t changed = 0; changed < 3; ++changed) {
    for (std::int64_t mode = 0; mode < 3; ++mode) {
      const auto before = fusion->forward(modes[mode]).embedding;
      gain[changed].add_(0.5);
      const auto after = fusion->forward(modes[mode]).embedding;
      gain[changed].sub_(0.5);
      EXPECT_EQ(relative_error(after, before) > 1e-4, changed == mode) << changed << mode;
    }
  }
}

TEST(FusionTransformer, ShapesThatDoNotFitAreRefused) {
  FusionConfig config;
  config.vision_channels = 8;
  config.text_hidden_size = 6;
  FusionTransformer fusion(config);
  fusion->eval();
  const auto compiled = fusion->compile(nn::Precision::kFp32);
  const auto good = random_input(config, 2, 3, 4, {3, 5}, 5);
  const auto refused = [&](const FusionInput& input) {
    try {
      compiled.forward(input);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument;
    }
    return false;
  };
  EXPECT_FALSE(refused(good));
  EXPECT_TRUE(refused({}));
  FusionInput bad = good;
  bad.grid_width = 5;
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.vision_tokens = at::randn({2, 12, 9});
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.vision_pooled = at::Tensor();
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.text_tokens = at::randn({3, 5, 6});
  EXPECT_TRUE(refused(bad));
  bad = good;
  bad.text_valid = at::ones({2, 4}, at::kBool);
  EXPECT_TRUE(refused(bad));
  EXPECT_THROW(compiled.match(compiled.forward(without_text(good))), Error);
  EXPECT_THROW(compiled.classify(compiled.forward(good), 0), Error);
}

TEST(FusionTransformer, CostCountsTheModulesParameters) {
  for_each_fusion([](FusionTransformer& fusion, const FusionInput&) {
    std::int64_t count = 0;
    for (const auto& parameter : fusion->parameters()) count += parameter.numel();
    EXPECT_EQ(cost(fusion->config(), 1, 1).parameters, count);
  });
}

TEST(FusionTransformer, EveryParameterLearns) {
  for (const auto norm : {nn::NormPlacement::kPre, nn::NormPlacement::kPost}) {
    FusionConfig config;
    config.norm = norm;
    config.label_sets = {{"kind", {"a", "b"}}};
    FusionTransformer fusion(config);
    randomise(*fusion);
    fusion->train();
    at::Tensor loss = fusion->logit_scale().exp();
    const auto input = random_input(config, 2, 5, 4, {3, 5}, 5);
    for (const auto& each : {input, without_image(input), without_text(input)}) {
      const auto output = fusion->forward(each);
      loss = loss + (output.embedding * at::randn_like(output.embedding)).sum() +
             fusion->classify(output, 0).square().sum();
      if (each.text_tokens.defined() && each.vision_tokens.defined()) {
        loss = loss + fusion->match(output).sum();
      }
    }
    loss.backward();
    for (const auto& parameter : fusion->named_parameters()) {
      ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
      EXPECT_GT(parameter.value().grad().abs().max().item<float>(), 0) << parameter.key();
    }
  }
}

TEST(FusionTransformer, TheBasePresetServesEveryMode) {
  const c10::NoGradGuard no_grad;
  const auto config = fusion_preset("fusion-base");
  FusionTransformer fusion(config);
  initialise(*fusion, 1);
  fusion->eval();
  const auto input = random_input(config, 2, 7, 7, {4, 9}, 9);
  for (const auto& each : {input, without_image(input), without_text(input)}) {
    const auto output = fusion->forward(each);
    EXPECT_EQ(output.embedding.sizes(), at::IntArrayRef({2, 768}));
    EXPECT_FALSE(output.vision.defined());
    EXPECT_TRUE(output.embedding.isfinite().all().item<bool>());
  }
  EXPECT_EQ(fusion->match(fusion->forward(input)).sizes(), at::IntArrayRef({2}));
}

}  // namespace
}  // namespace bifocal::fusion
