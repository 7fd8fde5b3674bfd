#include "vision/preprocess.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bifocal/error.h"
#include "encoded_images.h"

namespace bifocal::vision {
namespace {

using ::testing::HasSubstr;

Preprocess parsed(std::string_view json) {
  return Preprocess::from_config(core::JsonConfig::parse(json, "config.json"));
}

void expect_refused(std::string_view json, const std::string& word) {
  try {
    parsed(json);
    ADD_FAILURE() << "was understood: " << json;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    EXPECT_THAT(error.message(), HasSubstr(word));
    EXPECT_THAT(error.message(), HasSubstr("config.json"));
  }
}

TEST(Preprocess, ReadsTransformers) {
  const Preprocess vit = parsed(R"({"size": {"height": 200, "width": 300}, "resample": 2,
    "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]})");
  EXPECT_EQ(vit.resize, Preprocess::Resize::kExact);
  EXPECT_EQ(vit.resize_height, 200);
  EXPECT_EQ(vit.width, 300);
  EXPECT_EQ(vit.centre_crop, Preprocess::CentreCrop::kDown);
  EXPECT_EQ(vit.interpolation, Interpolation::kBilinear);
  EXPECT_FLOAT_EQ(vit.mean[2], 0.3f);
  EXPECT_FLOAT_EQ(vit.std[0], 0.4f);

  const Preprocess cropped = parsed(R"({"size": {"shortest_edge": 256}, "do_center_crop": true,
    "crop_size": 224, "resample": 3})");
  EXPECT_EQ(cropped.resize, Preprocess::Resize::kShortestEdge);
  EXPECT_EQ(cropped.resize_width, 256);
  EXPECT_EQ(cropped.height, 224);
  EXPECT_FLOAT_EQ(cropped.mean[0], 0.5f);

  EXPECT_EQ(parsed(R"({"size": 224})").resize, Preprocess::Resize::kExact);
  EXPECT_EQ(
      parsed(R"({"size": 224, "crop_size": 224, "feature_extractor_type": "CLIPFeatureExtractor"})")
          .resize,
      Preprocess::Resize::kShortestEdge);
}

// value -> what transformers' EfficientNet processor makes of it, step by step.
TEST(Preprocess, FoldsTheStepsOfEfficientNetIntoMeanAndStd) {
  const Preprocess preprocess = parsed(R"({"image_processor_type": "EfficientNetImageProcessor",
    "size": {"height": 1, "width": 1}, "resample": 0, "rescale_factor": 0.00784313725490196,
    "rescale_offset": true, "include_top": true, "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.47853944, 0.4732864, 0.47434163]})");
  EXPECT_EQ(preprocess.interpolation, Interpolation::kNearest);
  const std::array<double, 3> mean{0.485, 0.456, 0.406}, std{0.47853944, 0.4732864, 0.47434163};
  for (int value = 0; value < 256; ++value) {
    const Image image{1, 1, std::vector<std::uint8_t>(3, static_cast<std::uint8_t>(value))};
    std::array<float, 3> out{};
    preprocess_into(image, preprocess, out);
    for (std::size_t c = 0; c < 3; ++c)
      EXPECT_NEAR(out[c], (value / 127.5 - 1 - mean[c]) / std[c] / std[c], 1e-5);
  }
}

TEST(Preprocess, ReadsTimm) {
  const Preprocess squash = parsed(R"({"architecture": "x", "pretrained_cfg": {"input_size":
    [3, 288, 320], "crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bilinear",
    "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}})");
  EXPECT_EQ(squash.resize, Preprocess::Resize::kExact);
  EXPECT_EQ(squash.resize_height, 320);
  EXPECT_EQ(squash.resize_width, 355);  // floor(355.6)
  EXPECT_EQ(squash.height, 288);
  EXPECT_EQ(squash.width, 320);
  EXPECT_EQ(squash.interpolation, Interpolation::kBilinear);
  EXPECT_EQ(squash.centre_crop, Preprocess::CentreCrop::kHalfEven);

  const Preprocess defaults = parsed(R"({"input_size": [3, 224, 224]})");
  EXPECT_EQ(defaults.resize, Preprocess::Resize::kShortestEdge);
  EXPECT_EQ(defaults.resize_height, 256);  // / 0.875
  EXPECT_EQ(defaults.interpolation, Interpolation::kBicubic);
  EXPECT_FLOAT_EQ(defaults.std[1], 0.224f);
}

TEST(Preprocess, ReadsTorchvision) {
  const Preprocess preset = parsed(R"({"crop_size": [384], "resize_size": [400],
    "interpolation": "InterpolationMode.BICUBIC", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]})");
  EXPECT_EQ(preset.resize, Preprocess::Resize::kShortestEdge);
  EXPECT_EQ(preset.resize_height, 400);
  EXPECT_EQ(preset.width, 384);
  EXPECT_EQ(preset.interpolation, Interpolation::kBicubic);
  EXPECT_EQ(parsed(R"({"resize_size": 232})").interpolation, Interpolation::kBilinear);
}

TEST(Preprocess, RefusesWhatItCannotDo) {
  expect_refused("{}", "size");
  expect_refused(R"({"architecture": "efficientnet_b0"})", "size");
  expect_refused(R"({"size": {"shortest_edge": 256}})", "do_center_crop");
  expect_refused(R"({"size": {"shortest_edge": 256, "longest_edge": 512}})", "longest");
  expect_refused(R"({"size": {"shortest_edge": 256}, "do_center_crop": true})", "crop_size");
  expect_refused(R"({"size": 224, "do_resize": false})", "do_resize");
  expect_refused(R"({"size": 224, "resample": 1})", "resample");
  expect_refused(R"({"size": 224, "image_std": [1, 0, 1]})", "image_std");
  expect_refused(R"({"size": 224, "image_mean": [1, 0]})", "image_mean");
  expect_refused(R"({"size": 0})", "size");
  expect_refused(R"({"size": 224, "rescale_factor": 0})", "rescale_factor");
  expect_refused(R"({"input_size": [1, 28, 28]})", "input_size");
  expect_refused(R"({"input_size": [3, 28.5, 28]})", "input_size");
  expect_refused(R"({"input_size": [3, 224, 224], "crop_mode": "border"})", "border");
  expect_refused(R"({"input_size": [3, 224, 224], "interpolation": "random"})", "interpolation");
  expect_refused(R"({"resize_size": [1, 2, 3]})", "resize_size");
}

TEST(Preprocess, WhatItWritesItReadsBackUnchanged) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    Preprocess preprocess;
    const auto side = [&] { return static_cast<std::int64_t>(1 + random() % 1000); };
    preprocess.resize_height = side();
    preprocess.resize_width = preprocess.resize_height;
    if (random() % 2) {
      preprocess.resize = Preprocess::Resize::kExact;
      preprocess.resize_width = side();
    }
    preprocess.height = side();
    preprocess.width = side();
    if (random() % 2) preprocess.centre_crop = Preprocess::CentreCrop::kDown;
    preprocess.interpolation = static_cast<Interpolation>(random() % 3);
    for (std::size_t c = 0; c < 3; ++c) {
      preprocess.mean[c] = static_cast<float>(random()) / 5e9f;
      preprocess.std[c] = static_cast<float>(1 + random()) / 5e9f;
    }
    EXPECT_EQ(parsed(preprocess.to_json().dump()), preprocess);
  }
}

TEST(Preprocess, NormalisesAsLiteExpects) {
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::kExact;
  preprocess.resize_height = preprocess.height = 16;
  preprocess.resize_width = preprocess.width = 16;
  preprocess.mean.fill(127.0f / 255);
  preprocess.std.fill(128.0f / 255);
  const Image image = testing::rgb_image(16, 16);
  std::vector<float> out(3 * 16 * 16);
  preprocess_into(image, preprocess, out);
  for (std::size_t i = 0; i < 256; ++i)
    for (std::size_t c = 0; c < 3; ++c)
      EXPECT_NEAR(out[256 * c + i], (image.pixels[3 * i + c] - 127.0) / 128, 1e-6);
  out.pop_back();
  EXPECT_THROW(preprocess_into(image, preprocess, out), Error);
}

// What column of the resized picture the crop begins with; black where it is padded.
std::vector<int> kept_columns(std::int64_t width, std::int64_t crop, Preprocess::CentreCrop rule) {
  Preprocess preprocess;
  preprocess.resize = Preprocess::Resize::kExact;
  preprocess.resize_height = preprocess.height = 1;
  preprocess.resize_width = width;
  preprocess.width = crop;
  preprocess.centre_crop = rule;
  Image ramp{width, 1, {}};
  for (std::int64_t x = 0; x < width; ++x)
    ramp.pixels.insert(ramp.pixels.end(), 3, static_cast<std::uint8_t>(x + 1));
  const Image out = prepare(ramp, preprocess);
  std::vector<int> columns;
  for (std::size_t i = 0; i < out.pixels.size(); i += 3) columns.push_back(out.pixels[i]);
  return columns;
}

TEST(Preprocess, CentresAsTheSourceDoes) {
  using enum Preprocess::CentreCrop;
  using Columns = std::vector<int>;
  EXPECT_EQ(kept_columns(5, 4, kHalfEven), (Columns{1, 2, 3, 4}));  // 0.5 -> 0
  EXPECT_EQ(kept_columns(5, 2, kHalfEven), (Columns{3, 4}));        // 1.5 -> 2
  EXPECT_EQ(kept_columns(5, 4, kDown), (Columns{1, 2, 3, 4}));
  EXPECT_EQ(kept_columns(5, 2, kDown), (Columns{2, 3}));  // 1.5 -> 1
  EXPECT_EQ(kept_columns(2, 5, kHalfEven), (Columns{0, 1, 2, 0, 0}));
  EXPECT_EQ(kept_columns(2, 5, kDown), (Columns{0, 0, 1, 2, 0}));
  EXPECT_EQ(kept_columns(4, 4, kDown), (Columns{1, 2, 3, 4}));
}

// To a shortest edge of 256 these would have 16 million pixels a side: only the crop is made.
TEST(Preprocess, ExtremeAspectRatiosCostNoMemory) {
  for (const bool tall : {false, true}) {
    const Image image = tall ? testing::rgb_image(1, 65'535) : testing::rgb_image(65'535, 1);
    for (const auto resize : {Preprocess::Resize::kShortestEdge, Preprocess::Resize::kExact}) {
      Preprocess preprocess;
      preprocess.resize = resize;
      for (const auto interpolation :
           {Interpolation::kNearest, Interpolation::kBilinear, Interpolation::kBicubic}) {
        preprocess.interpolation = interpolation;
        EXPECT_EQ(prepare(image, preprocess).pixels.size(), 3u * 224 * 224);
      }
    }
  }
}

}  // namespace
}  // namespace bifocal::vision
