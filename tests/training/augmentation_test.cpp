#include "training/augmentation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "bifocal/error.h"
#include "training/random_variates.h"

namespace bifocal::training {
namespace {

using vision::Image;

// Every pixel tells where it was: red is its column, green its row.
Image chart(std::int64_t width, std::int64_t height) {
  Image image{width, height, {}};
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (const std::int64_t value : {x, y, std::int64_t{40}})
        image.pixels.push_back(static_cast<std::uint8_t>(value));
  return image;
}

vision::Preprocess square(std::int64_t side) {
  vision::Preprocess preprocess;
  preprocess.resize = vision::Preprocess::Resize::kExact;
  preprocess.resize_height = preprocess.resize_width = side;
  preprocess.height = preprocess.width = side;
  preprocess.interpolation = vision::Interpolation::kBilinear;
  return preprocess;
}

Augmentation everything() {
  Augmentation augmentation;
  augmentation.crop = RandomResizedCrop{};
  augmentation.horizontal_flip = 0.5;
  augmentation.rotation = 20;
  augmentation.color_jitter = {0.4, 0.4, 0.4, 0.1};
  augmentation.rand_augment = RandAugment{};
  return augmentation;
}

TEST(Augment, WithoutAugmentationAPictureIsAsItIsServed) {
  Random random(1);
  const vision::Preprocess preprocess;
  const Image image = chart(200, 120);
  EXPECT_EQ(augment(image, {}, preprocess, random).pixels,
            vision::prepare(image, preprocess).pixels);
}

TEST(Augment, IsAFunctionOfThePictureAndTheRandomNumbers) {
  const Image image = chart(150, 90);
  const vision::Preprocess preprocess = square(64);
  std::set<std::string> distinct;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Random first(seed), second(seed);
    const Image once = augment(image, everything(), preprocess, first);
    EXPECT_EQ(once.pixels, augment(image, everything(), preprocess, second).pixels);
    EXPECT_EQ(once.width, 64);
    EXPECT_EQ(once.height, 64);
    distinct.emplace(once.pixels.begin(), once.pixels.end());
  }
  EXPECT_EQ(distinct.size(), 20u);
}

TEST(Augment, CropsHaveAreasAndRatiosInTheirRange) {
  const Image image = chart(200, 160);
  Augmentation augmentation;
  augmentation.crop = RandomResizedCrop{0.2, 0.5, 0.5, 2.0};
  Random random(3);
  double smallest = 1, largest = 0;
  for (int i = 0; i < 300; ++i) {
    const Image crop = augment(image, augmentation, square(50), random);
    // The chart's gradient says how many columns and rows became 50: ends, less half a sample each.
    const auto span = [&](std::size_t channel, std::size_t last) {
      const auto first_value = crop.pixels[channel];
      return (crop.pixels[3 * last + channel] - first_value) * 50.0 / 49;
    };
    const double width = span(0, 49), height = span(1, 49 * 50);
    const double area = width * height / (200 * 160), ratio = width / height;
    EXPECT_GT(area, 0.2 * 0.93);
    EXPECT_LT(area, 0.5 * 1.07);
    EXPECT_GT(ratio, 0.5 * 0.93);
    EXPECT_LT(ratio, 2.0 * 1.07);
    smallest = std::min(smallest, area);
    largest = std::max(largest, area);
  }
  EXPECT_LT(smallest, 0.23);
  EXPECT_GT(largest, 0.47);
}

TEST(Augment, APictureOfNoAllowedRatioIsCroppedAtItsCentre) {
  Augmentation augmentation;
  augmentation.crop = RandomResizedCrop{0.9, 1.0, 3.0 / 4, 4.0 / 3};
  Random random(1);
  const Image crop = augment(chart(250, 9), augmentation, square(12), random);
  // 9 rows and 12 columns around the middle.
  EXPECT_EQ(crop.pixels[0], 119);
  EXPECT_EQ(crop.pixels[3 * 11], 130);
}

TEST(Augment, FlipsAsOftenAsItIsAskedTo) {
  const Image image = chart(32, 32);
  for (const double probability : {0.0, 0.3, 1.0}) {
    Augmentation augmentation;
    augmentation.horizontal_flip = probability;
    Random random(5);
    int flipped = 0;
    for (int i = 0; i < 1000; ++i)
      flipped += augment(image, augmentation, square(32), random).pixels[0] > 0 ? 1 : 0;
    EXPECT_NEAR(flipped, 1000 * probability, probability > 0 && probability < 1 ? 60 : 0);
  }
}

TEST(RandAugmentOps, AnUnknownNameIsRefused) {
  Image image = chart(4, 4);
  EXPECT_THROW(apply_rand_augment_op(image, "Sharpen", 5, false, vision::Interpolation::kBilinear,
                                     {0, 0, 0}),
               Error);
}

TEST(Erase, FillsOneRectangleOfAnAllowedArea) {
  RandomErasing erasing;
  erasing.probability = 1;
  erasing.min_area = 0.1;
  erasing.max_area = 0.3;
  erasing.fill = RandomErasing::Fill::kMean;
  Random random(11);
  for (int i = 0; i < 100; ++i) {
    std::vector<float> pixels(3 * 40 * 30, 1.0f);
    erase(pixels, 40, 30, erasing, random);
    int top = 40, bottom = 0, left = 30, right = 0, erased = 0;
    for (int y = 0; y < 40; ++y)
      for (int x = 0; x < 30; ++x) {
        if (pixels[static_cast<std::size_t>(3 * (30 * y + x))] != 0) continue;
        ++erased;
        top = std::min(top, y);
        bottom = std::max(bottom, y + 1);
        left = std::min(left, x);
        right = std::max(right, x + 1);
      }
    EXPECT_EQ(erased, (bottom - top) * (right - left)) << "not a rectangle";
    EXPECT_NEAR(erased / 1200.0, 0.2, 0.12);
  }
}

TEST(Erase, NoiseHasMeanZeroAndDeviationOne) {
  RandomErasing erasing;
  erasing.probability = 1;
  std::vector<float> pixels(3 * 224 * 224, 100.0f);
  Random random(2);
  erase(pixels, 224, 224, erasing, random);
  double sum = 0, squares = 0, count = 0;
  for (const float value : pixels) {
    if (value == 100.0f) continue;
    sum += value;
    squares += value * value;
    ++count;
  }
  EXPECT_GT(count, 1000);
  EXPECT_NEAR(sum / count, 0, 0.06);
  EXPECT_NEAR(squares / count, 1, 0.1);
}

TEST(DropTokens, KeepsTheEndsAndNeverLosesAll) {
  Random random(4);
  double kept = 0;
  for (int i = 0; i < 500; ++i) {
    const auto positions = drop_tokens(12, 0.3, random);
    EXPECT_EQ(positions.front(), 0u);
    EXPECT_EQ(positions.back(), 11u);
    EXPECT_TRUE(std::is_sorted(positions.begin(), positions.end()));
    kept += static_cast<double>(positions.size()) - 2;
  }
  EXPECT_NEAR(kept / 500, 7, 0.3);
  EXPECT_EQ(drop_tokens(6, 1.0, random).size(), 3u);
  EXPECT_THAT(drop_tokens(4, 0.0, random), ::testing::ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(drop_tokens(2, 1.0, random), ::testing::ElementsAre(0, 1));
}

TEST(RandomVariates, HaveTheMomentsOfTheirDistributions) {
  Random random(9);
  const int count = 40000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < count; ++i) {
    const double x = normal(random);
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  EXPECT_NEAR(sum / count, 0, 0.02);
  EXPECT_NEAR(squares / count, 1, 0.03);
  EXPECT_NEAR(fourth / count, 3, 0.2);
  for (const auto& [a, b] : {std::pair(0.2, 0.2), std::pair(1.0, 1.0), std::pair(2.0, 5.0)}) {
    double mean = 0, spread = 0;
    for (int i = 0; i < count; ++i) {
      const double x = beta(random, a, b);
      ASSERT_GE(x, 0);
      ASSERT_LE(x, 1);
      mean += x / count;
      spread += x * x / count;
    }
    EXPECT_NEAR(mean, a / (a + b), 0.01);
    EXPECT_NEAR(spread - mean * mean, a * b / ((a + b) * (a + b) * (a + b + 1)), 0.01);
  }
}

}  // namespace
}  // namespace bifocal::training
