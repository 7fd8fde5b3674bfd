#include "models/bundle.h"

#include <ATen/ops/isfinite.h>
#include <ATen/ops/rand.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/json_config.h"
#include "core/safetensors.h"
#include "models/fusion_model.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::models {
namespace {

using ::bifocal::testing::TemporaryDirectory;
using ::bifocal::testing::write_tiny_bundle;
using ::bifocal::testing::write_tiny_encoders;
using ::testing::HasSubstr;

template <typename Call>
std::string refusal_of(ErrorCode expected, const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), expected) << error.message() << error.detail();
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(Bundle, SaysWhatItWasMadeOf) {
  const TemporaryDirectory directory;
  const auto path = write_tiny_bundle(directory.path(), {{"animal", {"dog", "cat"}}});
  const Bundle bundle = Bundle::open(path);
  bundle.verify_checksums();
  EXPECT_EQ(bundle.name(), "tiny");
  EXPECT_EQ(bundle.licence(), "Apache-2.0");
  EXPECT_EQ(bundle.format_version(), kBundleFormatVersion);
  EXPECT_EQ(bundle.fusion().hidden_size, 16);
  ASSERT_EQ(bundle.fusion().label_sets.size(), 1u);
  EXPECT_EQ(bundle.fusion().label_sets[0].labels, (std::vector<std::string>{"dog", "cat"}));
  EXPECT_TRUE(std::filesystem::exists(path / "fusion" / "labels.json"));
  // Nothing partial is left beside it.
  for (const auto& entry : std::filesystem::directory_iterator(directory.path()))
    EXPECT_THAT(entry.path().filename().string(), ::testing::AnyOf("vision", "text", "bundle"));
}

TEST(Bundle, TheSameSeedGivesTheSameWeights) {
  const TemporaryDirectory first, second;
  const auto digest = [](const std::filesystem::path& path) {
    const Bundle bundle = Bundle::open(path);
    for (const BundleFile& file : bundle.files())
      if (file.path == "fusion/model.safetensors") return file.sha256;
    return std::string();
  };
  EXPECT_EQ(digest(write_tiny_bundle(first.path())), digest(write_tiny_bundle(second.path())));
}

TEST(Bundle, DamageIsNamed) {
  const TemporaryDirectory directory;
  const auto path = write_tiny_bundle(directory.path());
  const auto weights = path / "text" / "model.safetensors";
  std::string bytes = core::read_text_file(weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  core::write_file_atomically(weights, bytes);
  EXPECT_THAT(refusal_of(ErrorCode::kInvalidBundle, [&] { Bundle::open(path).verify_checksums(); }),
              HasSubstr("text/model.safetensors"));
  core::write_file_atomically(weights, bytes.substr(1));
  EXPECT_THAT(refusal_of(ErrorCode::kInvalidBundle, [&] { Bundle::open(path); }),
              HasSubstr("text/model.safetensors has"));
  std::filesystem::remove(weights);
  EXPECT_THAT(refusal_of(ErrorCode::kInvalidBundle, [&] { Bundle::open(path); }),
              HasSubstr("text/model.safetensors is missing"));
}

TEST(Bundle, AManifestCannotReachOutsideOfItsDirectory) {
  const TemporaryDirectory directory;
  const auto path = write_tiny_bundle(directory.path());
  nlohmann::json manifest = nlohmann::json::parse(core::read_text_file(path / "bifocal.json"));
  for (const char* outside : {"../secret", "/etc/passwd", "text/../../secret"}) {
    nlohmann::json changed = manifest;
    changed["files"][outside] = {{"bytes", 1}, {"sha256", ""}};
    core::write_file_atomically(path / "bifocal.json", changed.dump());
    EXPECT_THAT(refusal_of(ErrorCode::kInvalidBundle, [&] { Bundle::open(path); }),
                HasSubstr("inside of the bundle"));
  }
  manifest["format_version"] = kBundleFormatVersion + 1;
  core::write_file_atomically(path / "bifocal.json", manifest.dump());
  EXPECT_THAT(refusal_of(ErrorCode::kUnsupported, [&] { Bundle::open(path); }), HasSubstr("newer"));
}

TEST(Bundle, WhatIsNoBundleIsSaidSo) {
  const TemporaryDirectory directory;
  EXPECT_THAT(refusal_of(ErrorCode::kNotFound, [&] { Bundle::open(directory / "no"); }),
              HasSubstr("no such bundle"));
  EXPECT_THAT(refusal_of(ErrorCode::kNotFound, [&] { Bundle::open(directory.path()); }),
              HasSubstr("no bifocal.json"));
}

TEST(WriteBundle, RefusesPartsThatDoNotFitAndLeavesNothingBehind) {
  const TemporaryDirectory directory;
  BundleParts parts = write_tiny_encoders(directory.path());
  parts.fusion.vision_channels = 99;
  const std::string message = refusal_of(ErrorCode::kInvalidBundle,
                                         [&] { write_bundle(parts, directory / "bundle", false); });
  EXPECT_THAT(message, HasSubstr("24"));
  EXPECT_THAT(message, HasSubstr("99"));
  EXPECT_FALSE(std::filesystem::exists(directory / "bundle"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 2);
}

TEST(WriteBundle, VisualTokensMayTakeDetailFromALowerStage) {
  const TemporaryDirectory directory;
  BundleParts parts = write_tiny_encoders(directory.path());
  vision::EfficientNetConfig network = vision::load_efficientnet(parts.vision)->config();
  network.detail_stage = 1;
  parts.fusion.detail_stage = 1;
  parts.fusion.detail_channels = vision::detail_channels(network);
  write_bundle(parts, directory / "bundle", false);
  const auto model = FusionModel::load(Bundle::open(directory / "bundle"), nn::Precision::kFp32);
  const vision::VisionOutput images = model->encode_images(at::rand({1, 3, 64, 64}));
  EXPECT_EQ(images.tokens.size(2), parts.fusion.token_channels());
  EXPECT_EQ(images.pooled.size(1), parts.fusion.vision_channels);
  EXPECT_TRUE(at::isfinite(model->fuse(&images, nullptr).embedding).all().item<bool>());

  ++parts.fusion.detail_channels;
  EXPECT_THAT(refusal_of(ErrorCode::kInvalidBundle,
                         [&] { write_bundle(parts, directory / "other", false); }),
              HasSubstr("detail"));
}

TEST(WriteBundle, ReplacesOnlyWhenAsked) {
  const TemporaryDirectory directory;
  BundleParts parts = write_tiny_encoders(directory.path());
  write_bundle(parts, directory / "bundle", false);
  parts.name = "second";
  refusal_of(ErrorCode::kInvalidArgument,
             [&] { write_bundle(parts, directory / "bundle", false); });
  EXPECT_EQ(Bundle::open(directory / "bundle").name(), "tiny");
  write_bundle(parts, directory / "bundle", true);
  EXPECT_EQ(Bundle::open(directory / "bundle").name(), "second");
}

TEST(WriteBundle, ADeltaReplacesItsWeightsAndNoOthers) {
  for (const std::string tower : {"text", "vision"}) {
    const TemporaryDirectory directory;
    BundleParts parts = write_tiny_encoders(directory.path());
    const core::Safetensors base = core::Safetensors::open(directory / tower / "model.safetensors");
    const auto& [name, view] = *base.tensors().begin();
    const std::vector<float> values(view.data.size() / sizeof(float), 0.25f);
    core::write_safetensors(directory / "delta",
                            {{name, {view.dtype, view.shape, std::as_bytes(std::span(values))}}});
    (tower == "text" ? parts.text_delta : parts.vision_delta) = directory / "delta";
    write_bundle(parts, directory / "bundle", false);
    const core::Safetensors joined =
        core::Safetensors::open(directory / "bundle" / tower / "model.safetensors");
    for (const auto& [other, expected] : base.tensors()) {
      const bool same = std::ranges::equal(joined.at(other).data, expected.data);
      EXPECT_EQ(same, other != name) << other;
    }

    core::write_safetensors(directory / "delta",
                            {{"no.such.weight", {core::DType::kF32, {0}, {}}}});
    const std::string refusal = refusal_of(
        ErrorCode::kInvalidBundle, [&] { write_bundle(parts, directory / "other", false); });
    EXPECT_THAT(refusal, HasSubstr("no.such.weight"));
    EXPECT_THAT(refusal, HasSubstr(tower + " encoder"));
  }
}

}  // namespace
}  // namespace bifocal::models
