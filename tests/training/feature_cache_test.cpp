#include "training/feature_cache.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "bifocal/error.h"
#include "encoded_picture.h"
#include "models/fusion_model.h"
#include "nn/pooling.h"
#include "temporary_directory.h"
#include "text/bert_checkpoint.h"
#include "tiny_bundle.h"
#include "training/thawed_vision.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

RecordSet pictures(std::size_t count, std::uint32_t first_seed = 1) {
  RecordSet records;
  for (std::size_t i = 0; i < count; ++i) {
    Record record;
    record.id = record.image = "picture " + std::to_string(i);
    const auto seed = first_seed + static_cast<std::uint32_t>(i);
    records.add(record, [seed] { return testing::encoded_picture(seed); });
  }
  return records;
}

struct FeatureCache : ::testing::Test {
  TemporaryDirectory directory;
  models::BundleParts parts = testing::write_tiny_encoders(directory.path());
  vision::EfficientNet vision = vision::load_efficientnet(parts.vision);
  vision::Preprocess preprocess = models::read_preprocess(parts.vision);
  text::Bert text = text::load_bert(parts.text);
  std::unique_ptr<text::Tokenizer> tokenizer = text::load_tokenizer(parts.text);
  std::size_t encoded = 0;
  EncodingOptions options{
      directory / "cache", 2, [this](std::size_t, std::size_t) { ++encoded; }, {}};

  ImageFeatures images(const RecordSet& records, const ImageViews& views = {.mirrored = true}) {
    return encode_images(records, vision, preprocess, views, vision->config().stages.size(),
                         options);
  }
};

TEST_F(FeatureCache, HasWhatTheTowerGivesOfAnImageAndOfItsMirror) {
  const RecordSet records = pictures(3);
  const ImageFeatures features = images(records);
  ASSERT_EQ(features.tokens.sizes(),
            at::IntArrayRef({3, 2, features.grid_height * features.grid_width, 24}));
  const vision::Image picture = vision::decode(records.read_image(1));
  at::Tensor pixels = at::empty({1, 3, 64, 64});
  vision::preprocess_into(picture, preprocess, {pixels.mutable_data_ptr<float>(), 3 * 64 * 64});
  const c10::NoGradGuard no_grad;
  for (const bool flipped : {false, true}) {
    const auto expected = vision->forward_features(flipped ? pixels.flip(3) : pixels);
    EXPECT_TRUE(at::allclose(features.tokens[1][flipped ? 1 : 0].to(at::kFloat), expected.tokens[0],
                             1e-2, 1e-3));
    EXPECT_TRUE(at::allclose(features.pooled[1][flipped ? 1 : 0], expected.pooled[0], 1e-2, 1e-3));
  }
}

TEST_F(FeatureCache, IsUsedAgainForTheSameAndNeverForAnother) {
  const ImageFeatures first = images(pictures(3));
  EXPECT_EQ(encoded, 3u);
  const ImageFeatures again = images(pictures(3));
  EXPECT_EQ(encoded, 3u) << "it was encoded again";
  EXPECT_TRUE(at::equal(first.tokens, again.tokens));

  images(pictures(3, 50));  // other bytes under the same names
  EXPECT_EQ(encoded, 6u);
  images(pictures(3), {});
  EXPECT_EQ(encoded, 9u);
  preprocess.mean[0] += 0.1f;
  images(pictures(3));
  EXPECT_EQ(encoded, 12u);
  {
    const c10::NoGradGuard no_grad;
    vision->named_parameters()["head.norm.weight"].add_(0.25);
  }
  images(pictures(3));
  EXPECT_EQ(encoded, 15u);
}

TEST_F(FeatureCache, AugmentedViewsAreDrawnFromSeedAndPictureAlone) {
  ImageViews views{.mirrored = true, .augmented = 2, .seed = 3};
  views.augmentation.crop = RandomResizedCrop{};
  const ImageFeatures features = images(pictures(3), views);
  ASSERT_EQ(features.pooled.size(1), 4);
  for (const std::int64_t view : {2, 3})
    for (const std::int64_t other : {std::int64_t{0}, std::int64_t{1}, 5 - view})
      EXPECT_FALSE(at::allclose(features.pooled[1][view], features.pooled[1][other], 1e-3, 1e-4));
  options.threads = 1;
  options.cache = directory / "another";
  EXPECT_TRUE(at::equal(images(pictures(3), views).tokens, features.tokens));
  views.seed = 4;
  EXPECT_FALSE(at::equal(images(pictures(3), views).tokens, features.tokens));
  views.seed = 3;
  views.augmentation.crop->min_area = 0.9;
  EXPECT_FALSE(at::equal(images(pictures(3), views).tokens, features.tokens));
}

TEST_F(FeatureCache, LowerAndUpperStagesTogetherAreTheTower) {
  const ImageViews views{.mirrored = true};
  const ImageFeatures whole = images(pictures(3), views);
  const ImageFeatures frozen =
      encode_images(pictures(3), vision, preprocess, views, /*frozen_stages=*/1, options);
  EXPECT_FALSE(frozen.tokens.defined());
  EXPECT_TRUE(at::allclose(frozen.pooled, whole.pooled, 1e-2, 1e-3));
  const at::Tensor rows = at::tensor({2, 0}, at::kLong), shown = at::tensor({0, 1}, at::kLong);
  const c10::NoGradGuard no_grad;
  const ImageStates expected = UpperStages().forward(whole, rows, shown);
  const ImageStates found = UpperStages(vision, 1, 0.2).forward(frozen, rows, shown);
  EXPECT_TRUE(at::allclose(found.tokens, expected.tokens, 2e-2, 2e-2));
  EXPECT_TRUE(at::allclose(found.pooled, expected.pooled, 2e-2, 2e-2));
  EXPECT_EQ(found.grid_height, whole.grid_height);
}

TEST_F(FeatureCache, ADamagedOneIsMadeAgain) {
  const ImageFeatures first = images(pictures(2));
  for (const auto& entry : fs::recursive_directory_iterator(directory / "cache"))
    if (entry.path().filename() == "tokens.bf16") fs::resize_file(entry.path(), 100);
  const ImageFeatures again = images(pictures(2));
  EXPECT_EQ(encoded, 4u);
  EXPECT_TRUE(at::equal(first.pooled, again.pooled));
}

TEST_F(FeatureCache, AnImageThatCannotBeDecodedIsListedAlsoFromTheCache) {
  RecordSet records = pictures(2);
  Record broken;
  broken.id = broken.image = "broken.jpg";
  records.add(broken, [] { return std::vector<std::byte>(20); });
  const RecordSet more = pictures(1, 9);
  records.add(more[0], [more] { return more.read_image(0); });
  for (int round = 0; round < 2; ++round) {
    const ImageFeatures features = images(records);
    EXPECT_THAT(features.records, ::testing::ElementsAre(0, 1, 3));
    EXPECT_EQ(features.tokens.size(0), 3);
    ASSERT_EQ(features.skipped.size(), 1u);
    EXPECT_EQ(features.skipped[0].where, "broken.jpg");
  }
}

TEST_F(FeatureCache, AnInterruptLeavesNothingBehind) {
  options.interrupted = [] { return true; };
  EXPECT_THROW(images(pictures(2)), Error);
  for (const auto& entry : fs::directory_iterator(directory / "cache"))
    ADD_FAILURE() << entry.path();
}

TEST_F(FeatureCache, LowerAndUpperLayersTogetherAreTheTower) {
  const std::vector<std::string> texts = {"a red dog runs", "the cat", "a house on the red house"};
  const c10::NoGradGuard no_grad;
  for (const std::int64_t layers : {0, 1, 2}) {
    const CaptionFeatures features = encode_captions(texts, text, *tokenizer, layers, 24, options);
    UpperLayers upper(text, layers);
    upper->eval();
    for (std::int64_t i = 0; i < 3; ++i) {
      const auto ids = tokenizer->encode(texts[static_cast<std::size_t>(i)]).ids;
      const auto length = static_cast<std::int64_t>(ids.size());
      ASSERT_EQ(features.lengths[i].item<std::int64_t>(), length);
      const at::Tensor expected = text->forward(at::tensor(ids).unsqueeze(0), {}, {});
      const at::Tensor found =
          upper->forward(features.hidden[i].narrow(0, 0, length).unsqueeze(0).to(at::kFloat), {});
      EXPECT_TRUE(at::allclose(found, expected, 2e-2, 2e-2)) << layers;
      EXPECT_TRUE(at::allclose(features.pooled[i],
                               nn::pool(expected, {}, text->config().pooling)[0], 1e-2, 1e-2));
    }
  }
}

}  // namespace
}  // namespace bifocal::training
