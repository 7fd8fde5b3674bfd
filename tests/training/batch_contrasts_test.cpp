#include "training/batch_contrasts.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "training/adamw.h"
#include "training/retrieval.h"

namespace bifocal::training {
namespace {

// Twelve records with two contrasts each. The false text of list 1 holds of records 3 and 7, of
// list 0 nobody knows where.
ContrastTexts some_contrasts() {
  ContrastTexts contrasts;
  contrasts.kinds = {"animal"};
  contrasts.partners = {{}, {3, 7}};
  for (std::size_t record = 0; record < 12; ++record) {
    contrasts.first.push_back(contrasts.pairs.size());
    for (const std::size_t list : {0u, 1u}) {
      const auto row = static_cast<std::int64_t>(4 * record + 2 * list);
      contrasts.pairs.push_back({0, record, row, row + 1, list});
    }
  }
  contrasts.first.push_back(contrasts.pairs.size());
  return contrasts;
}

struct BatchContrastsTest : ::testing::Test {
  ContrastTexts contrasts = some_contrasts();
  ProcessGroup group;
  Batch batch;

  BatchContrastsTest() {
    batch.samples = batch.whole = {7, 2, 9, 0, 5, 11};
    batch.group = &group;
  }
};

TEST_F(BatchContrastsTest, ThePartnerIsAnImageOfWhichTheFalseTextHolds) {
  std::set<std::int64_t> unknown;
  for (std::int64_t epoch = 0; epoch < 50; ++epoch) {
    batch.epoch = epoch;
    const BatchContrasts drawn = draw_contrasts(contrasts, batch, 2, 100);
    ASSERT_EQ(drawn.image.size(), 12u);
    EXPECT_EQ(drawn.all, 12u);
    EXPECT_EQ(drawn.matched.size(), 12u);
    for (std::size_t p = 0; p < drawn.image.size(); ++p) {
      EXPECT_NE(drawn.partner[p], drawn.image[p]);
      EXPECT_EQ(drawn.false_text[p], drawn.true_text[p] + 1);
      EXPECT_EQ(drawn.true_text[p] / 4,
                static_cast<std::int64_t>(batch.whole[static_cast<std::size_t>(drawn.image[p])]));
      const bool is_known = drawn.true_text[p] % 4 != 0;
      if (!is_known) unknown.insert(drawn.partner[p]);
      // Of records 3 and 7 the batch has the second, at its first place.
      if (is_known && drawn.image[p] != 0) {
        EXPECT_EQ(drawn.partner[p], 0);
      }
    }
  }
  EXPECT_EQ(unknown.size(), 6u) << "any of the batch where none is known";
}

TEST_F(BatchContrastsTest, TheMatchHeadSeesSomeEvenlySpread) {
  const BatchContrasts drawn = draw_contrasts(contrasts, batch, 2, 5);
  EXPECT_EQ(drawn.matched, (std::vector<std::int64_t>{0, 3, 6, 9}));
  EXPECT_EQ(drawn.all_matched, 4u);
}

TEST_F(BatchContrastsTest, AnImageAloneHasNoPartner) {
  batch.samples = batch.whole = {3};
  EXPECT_EQ(draw_contrasts(contrasts, batch, 2, 5).all, 0u);
}

// Neither a direction that all images share nor any score of the texts alone changes anything.
TEST_F(BatchContrastsTest, WhatTheTextsAloneTellCancels) {
  const BatchContrasts drawn = draw_contrasts(contrasts, batch, 2, 5);
  const at::Tensor images = at::randn({6, 8}), truths = at::randn({12, 8}),
                   lies = at::randn({12, 8});
  const auto loss_of = [&](const at::Tensor& of_images) {
    Loss loss{at::zeros({}), {}};
    add_cosine_contrasts(loss, of_images, truths, lies, at::ones({}), drawn, 2, group);
    return loss;
  };
  const Loss loss = loss_of(images);
  double by_hand = 0;
  for (std::int64_t p = 0; p < 12; ++p) {
    const auto place = static_cast<std::size_t>(p);
    const auto margin = [&](std::int64_t image) {
      return (images[image] * (truths[p] - lies[p])).sum().item<double>();
    };
    by_hand += std::log1p(std::exp(margin(drawn.partner[place]) - margin(drawn.image[place]))) / 12;
  }
  EXPECT_NEAR(loss.parts.at("contrast"), by_hand, 1e-5);
  EXPECT_NEAR(loss.total.item<double>(), 2 * by_hand, 1e-5);
  EXPECT_NEAR(loss_of(images + 3 * at::randn({8})).parts.at("contrast"), by_hand, 1e-4);
}

// The captions say nothing, so that contrasts alone teach: each picture is of one of two animals,
// and its true text has that animal's direction.
TEST(PooledHeadsOfContrasts, LearnWhichTextIsTrue) {
  at::manual_seed(5);
  constexpr std::int64_t kImages = 24, kChannels = 8, kHidden = 6;
  const at::Tensor animals = at::randn({2, kChannels}), words = at::randn({2, kHidden});
  PairFeatures pairs;
  pairs.images.pooled = at::randn({kImages, 1, kChannels}) * 0.3;
  pairs.captions.pooled = at::ones({kImages, kHidden});
  pairs.contrasts.kinds = {"animal"};
  pairs.contrasts.partners = {{}, {}};  // by the animal of the true text
  pairs.contrasts.texts.pooled = words;
  for (std::int64_t i = 0; i < kImages; ++i) {
    const std::int64_t animal = i % 2;
    pairs.images.pooled[i][0] += animals[animal];
    pairs.first.push_back(static_cast<std::size_t>(i));
    pairs.ids.push_back(std::to_string(i));
    pairs.contrasts.first.push_back(static_cast<std::size_t>(i));
    pairs.contrasts.pairs.push_back(
        {0, static_cast<std::size_t>(i), animal, 1 - animal, static_cast<std::size_t>(animal)});
    pairs.contrasts.partners[static_cast<std::size_t>(1 - animal)].push_back(i);
  }
  pairs.first.push_back(kImages);
  pairs.contrasts.first.push_back(kImages);

  fusion::FusionConfig config;
  config.hidden_size = config.embedding_size = 16;
  config.num_attention_heads = 2;
  config.intermediate_size = 16;
  config.vision_channels = kChannels;
  config.text_hidden_size = kHidden;
  config.pooled_dropout = 0;
  RetrievalModel model;
  model.fusion = fusion::FusionTransformer(config);
  fusion::initialise(*model.fusion, 1);
  PooledHeads heads(model, pairs, pairs, {1e-2, 0, 1, /*contrast_weight=*/1, {}});
  heads.set_training(true);
  AdamW adamw(heads.parameter_groups(), {});
  const ProcessGroup group;
  Batch batch;
  batch.group = &group;
  batch.samples.resize(kImages);
  std::iota(batch.samples.begin(), batch.samples.end(), std::size_t{0});
  batch.whole = batch.samples;
  Metrics parts;
  for (batch.number = 0; batch.number < 60; ++batch.number) {
    adamw.zero_gradients();
    Loss loss = heads.loss(batch);
    loss.total.backward();
    adamw.step(1);
    parts = loss.parts;
  }
  EXPECT_DOUBLE_EQ(parts.at("contrast right"), 100);
  EXPECT_LT(parts.at("contrast"), 0.1);
}

}  // namespace
}  // namespace bifocal::training
