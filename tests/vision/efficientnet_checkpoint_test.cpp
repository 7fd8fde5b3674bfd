#include "vision/efficientnet_checkpoint.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/utils.h>

#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "random_efficientnet.h"
#include "temporary_directory.h"
#include "vision/efficientnet_dialects.h"

namespace bifocal::vision {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

EfficientNetConfig read(const nlohmann::json& json) {
  return read_efficientnet_config(core::JsonConfig(json, "vision/config.json"));
}

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle) << error.message();
    return error.message();
  }
  ADD_FAILURE() << "no error";
  return {};
}

TEST(EfficientNetConfig, ReadsBackWhatItWrites) {
  std::mt19937 random(23);
  for (int i = 0; i < 50; ++i) {
    EfficientNetConfig config = random_config(random);
    config.detail_stage = 0;  // an encoder's files do not say it
    config.dropout = 0.35;
    config.drop_connect_rate = 0.15;
    config.batch_norm_momentum = 0.02;
    EXPECT_EQ(read(nlohmann::json::parse(to_json(config).dump())), config);
  }
  for (const std::string_view name : efficientnet_names())
    EXPECT_EQ(read(to_json(efficientnet(name))), efficientnet(name));
}

TEST(EfficientNetConfig, KnowsEachPublishersSpelling) {
  const auto spelt = [](const char* name) { return read({{"architecture", name}}); };
  EXPECT_EQ(spelt("efficientnet-lite0"), efficientnet("efficientnet-lite0"));
  EXPECT_EQ(spelt("tf_efficientnet_b3.ns_jft_in1k"), efficientnet("efficientnet-b3"));
  EXPECT_EQ(spelt("tf_efficientnetv2_b0"), efficientnet("efficientnetv2-b0"));
  EfficientNetConfig pytorch = efficientnet("efficientnetv2-s");
  pytorch.padding = Padding::kSymmetric;
  pytorch.batch_norm_eps = 1e-5;
  EXPECT_EQ(spelt("efficientnetv2_s"), pytorch);   // timm
  EXPECT_EQ(spelt("efficientnet_v2_s"), pytorch);  // torchvision
}

TEST(EfficientNetConfig, TakesOverridesBesideAName) {
  const EfficientNetConfig config = read({{"architecture", "tf_efficientnet_lite0"},
                                          {"num_classes", 12},
                                          {"image_size", 320},
                                          {"padding", "symmetric"},
                                          {"batch_norm_eps", 1e-4},
                                          {"dropout", 0.4}});
  EXPECT_EQ(config.num_classes, 12);
  EXPECT_EQ(config.image_size, 320);
  EXPECT_EQ(config.padding, Padding::kSymmetric);
  EXPECT_EQ(config.batch_norm_eps, 1e-4);
  EXPECT_EQ(config.dropout, 0.4);
  EXPECT_EQ(config.stages, efficientnet("efficientnet-lite0").stages);
}

nlohmann::json transformers_b3() {
  return {{"model_type", "efficientnet"}, {"width_coefficient", 1.2},
          {"depth_coefficient", 1.4},     {"image_size", 300},
          {"hidden_dim", 1536},           {"dropout_rate", 0.3},
          {"depthwise_padding", {5, 18}}};
}

TEST(EfficientNetConfig, ReadsTransformersCoefficients) {
  EXPECT_EQ(read(transformers_b3()), efficientnet("efficientnet-b3"));
}

TEST(EfficientNetConfig, RefusesTransformersPaddingThatIsNotSame) {
  nlohmann::json json = transformers_b3();
  json["depthwise_padding"] = {5};
  EXPECT_THAT(message_of([&] { read(json); }), HasSubstr("vision/config.json: depthwise_padding"));
  json["image_size"] = 320;  // 160, 80, 40, 20: no strided convolution meets an odd map
  json["depthwise_padding"] = nlohmann::json::array();
  EXPECT_EQ(read(json).stages, efficientnet("efficientnet-b3").stages);
}

TEST(EfficientNetConfig, NamesTheKeyThatIsWrong) {
  const auto message = [](const nlohmann::json& json) { return message_of([&] { read(json); }); };
  EXPECT_THAT(message(nlohmann::json::object()), HasSubstr("architecture"));
  EXPECT_THAT(message({{"architecture", "resnet50"}}),
              AllOf(HasSubstr("architecture"), HasSubstr("efficientnet-b0")));
  EXPECT_THAT(message({{"architecture", "efficientnet-b0"}, {"padding", "valid"}}),
              AllOf(HasSubstr("padding"), HasSubstr("valid"), HasSubstr("symmetric")));
  EXPECT_THAT(message({{"architecture", "efficientnet-b0"}, {"batch_norm_eps", -1}}),
              HasSubstr("batch_norm_eps"));
  EXPECT_THAT(message({{"architecture", "tf_efficientnet_b0"}, {"model_args", {{"in_chans", 4}}}}),
              HasSubstr("model_args"));
  nlohmann::json json = transformers_b3();
  json["hidden_dim"] = 1280;
  EXPECT_THAT(message(json), HasSubstr("hidden_dim"));
  json = to_json(efficientnet("efficientnet-b0"));
  json["stages"][1]["in_channels"] = 17;
  EXPECT_THAT(message(json), HasSubstr("stage 1: in_channels is 17"));
  json["stages"][1]["in_channels"] = 1e9;
  EXPECT_THAT(message(json), HasSubstr("in_channels"));
}

// What each publisher calls some weights of efficientnet-b1, whose stages have 2, 3, 3, ... blocks.
struct Spelling {
  const char* dialect;
  std::vector<std::pair<const char*, const char*>> theirs_and_ours;
};
const std::vector<Spelling> kSpellings = {
    {"timm",
     {{"conv_stem.weight", "stem.conv.weight"},
      {"bn1.running_mean", "stem.norm.running_mean"},
      {"blocks.0.1.conv_dw.weight", "stages.0.1.depthwise.conv.weight"},
      {"blocks.0.0.conv_pw.weight", "stages.0.0.project.conv.weight"},
      {"blocks.0.0.bn2.bias", "stages.0.0.project.norm.bias"},
      {"blocks.3.2.conv_pw.weight", "stages.3.2.expand.conv.weight"},
      {"blocks.3.2.conv_pwl.weight", "stages.3.2.project.conv.weight"},
      {"blocks.3.2.bn2.weight", "stages.3.2.depthwise.norm.weight"},
      {"blocks.1.0.se.conv_reduce.bias", "stages.1.0.se.reduce.bias"},
      {"conv_head.weight", "head.conv.weight"},
      {"bn2.weight", "head.norm.weight"}}},
    {"torchvision",
     {{"features.0.0.weight", "stem.conv.weight"},
      {"features.1.1.block.0.0.weight", "stages.0.1.depthwise.conv.weight"},
      {"features.1.0.block.1.fc2.bias", "stages.0.0.se.expand.bias"},
      {"features.1.0.block.2.1.weight", "stages.0.0.project.norm.weight"},
      {"features.4.2.block.0.0.weight", "stages.3.2.expand.conv.weight"},
      {"features.4.2.block.2.fc1.weight", "stages.3.2.se.reduce.weight"},
      {"features.4.2.block.3.0.weight", "stages.3.2.project.conv.weight"},
      {"features.8.0.weight", "head.conv.weight"},
      {"classifier.1.bias", "classifier.bias"}}},
    {"transformers",
     {{"efficientnet.embeddings.convolution.weight", "stem.conv.weight"},
      {"efficientnet.encoder.blocks.1.depthwise_conv.depthwise_conv.weight",
       "stages.0.1.depthwise.conv.weight"},
      {"efficientnet.encoder.blocks.2.expansion.expand_bn.weight", "stages.1.0.expand.norm.weight"},
      {"efficientnet.encoder.blocks.2.squeeze_excite.expand.bias", "stages.1.0.se.expand.bias"},
      {"efficientnet.encoder.top_bn.running_var", "head.norm.running_var"},
      {"classifier.weight", "classifier.weight"}}},
    {"lukemelas",
     {{"_conv_stem.weight", "stem.conv.weight"},
      {"_bn0.weight", "stem.norm.weight"},
      {"_blocks.1._depthwise_conv.weight", "stages.0.1.depthwise.conv.weight"},
      {"_blocks.2._bn0.weight", "stages.1.0.expand.norm.weight"},
      {"_blocks.4._se_reduce.weight", "stages.1.2.se.reduce.weight"},
      {"_bn1.bias", "head.norm.bias"},
      {"_fc.weight", "classifier.weight"}}},
};

TEST(EfficientNetDialects, TellTheWeightsAndWhereTheyBelong) {
  const EfficientNetConfig b1 = efficientnet("efficientnet-b1");
  for (const Spelling& spelling : kSpellings) {
    nn::StateDict published;
    for (const auto& [theirs, ours] : spelling.theirs_and_ours)
      published.emplace(theirs, at::zeros({1}));
    const EfficientNetDialect& dialect = recognise_dialect(published, "weights");
    EXPECT_EQ(dialect.name, spelling.dialect);
    const nn::StateDict translated = translate(published, dialect, b1, "weights");
    for (const auto& [theirs, ours] : spelling.theirs_and_ours)
      EXPECT_TRUE(translated.contains(ours)) << theirs << " is not read as " << ours;
  }
}

TEST(EfficientNetDialects, SaysWhatItKnowsWhereItKnowsNothing) {
  EXPECT_THAT(message_of([] {
                recognise_dialect({{"conv1.weight", at::zeros({1})}}, "w");
              }),
              AllOf(HasSubstr("timm"), HasSubstr("_conv_stem.weight")));
}

class Checkpoint : public ::testing::Test {
 protected:
  Checkpoint() {
    torch::manual_seed(9);
    std::mt19937 random(9);
    config_ = random_config(random);
    config_.num_classes = 4;
    network_ = random_network(config_);
  }
  EfficientNet load(const nlohmann::json& config, const nn::StateDict& weights) {
    std::ofstream(directory_ / "config.json") << config.dump();
    nn::write_state_dict(directory_ / "model.safetensors", weights, core::DType::kF32);
    return load_efficientnet(directory_.path());
  }
  nn::StateDict weights() const { return nn::state_dict_of(*network_); }

  testing::TemporaryDirectory directory_;
  EfficientNetConfig config_;
  EfficientNet network_{nullptr};
};

TEST_F(Checkpoint, ComesBackWhole) {
  const EfficientNet loaded = load(to_json(config_), weights());
  EXPECT_EQ(loaded->config(), config_);
  EXPECT_FALSE(loaded->is_training());
  const nn::StateDict expected = weights();
  for (const auto& [name, weight] : nn::state_dict_of(*loaded))
    EXPECT_TRUE(at::equal(weight, expected.at(name)) || name.ends_with("num_batches_tracked"))
        << name;
}

TEST_F(Checkpoint, CountsItsClassesWhereTheConfigDoesNot) {
  nlohmann::json json = to_json(config_);
  json.erase("num_classes");
  EXPECT_EQ(load(json, weights())->config().num_classes, 4);
  nn::StateDict headless = weights();
  headless.erase("classifier.weight");
  headless.erase("classifier.bias");
  EXPECT_EQ(load(json, headless)->config().num_classes, 0);
  EXPECT_THAT(message_of([&] { load(to_json(config_), headless); }),
              AllOf(HasSubstr("missing"), HasSubstr("classifier.weight")));
}

TEST_F(Checkpoint, NamesEveryWeightThatIsMissingExtraOrMisshapen) {
  nn::StateDict wrong = weights();
  wrong.erase("stem.norm.running_var");
  wrong["surplus.weight"] = at::zeros({2});
  wrong["head.norm.bias"] = at::zeros({3});
  EXPECT_THAT(
      message_of([&] { load(to_json(config_), wrong); }),
      AllOf(HasSubstr("model.safetensors"), HasSubstr("missing: stem.norm.running_var"),
            HasSubstr("extra: surplus.weight"), HasSubstr("head.norm.bias"), HasSubstr("[3]")));
}

TEST_F(Checkpoint, RefusesAConfigThatPromisesFarMoreThanTheFileHolds) {
  EXPECT_THAT(message_of([&] { load(to_json(efficientnet("efficientnetv2-l")), weights()); }),
              HasSubstr("efficientnetv2-l"));
}

// Padding and epsilon of weights that only name their architecture.
class SourceNumerics : public ::testing::Test {
 protected:
  EfficientNetConfig load(const nlohmann::json& config, std::string_view architecture,
                          bool torchvision) {
    EfficientNetConfig network = efficientnet(architecture);
    network.num_classes = 0;
    nn::StateDict theirs;
    for (const auto& [name, weight] : nn::state_dict_of(*EfficientNet(network)))
      theirs.emplace(torchvision ? torchvisions_name(name) : timms_name(name), weight);
    std::ofstream(directory_ / "config.json") << config.dump();
    nn::write_state_dict(directory_ / "model.safetensors", theirs, core::DType::kBF16);
    return load_efficientnet(directory_.path())->config();
  }

 private:
  static std::string with(std::string name, const char* pattern, const char* replacement) {
    return std::regex_replace(name, std::regex(pattern), replacement);
  }
  // Lite0's alone: without squeeze-and-excitation.
  static std::string timms_name(std::string name) {
    name = with(name, R"(^stem\.conv)", "conv_stem");
    name = with(name, R"(^stem\.norm)", "bn1");
    name = with(name, R"(^head\.conv)", "conv_head");
    name = with(name, R"(^head\.norm)", "bn2");
    name = with(name, R"(^stages\.)", "blocks.");
    name = with(name, R"((blocks\.0\.0)\.depthwise\.norm)", "$1.bn1");
    name = with(name, R"((blocks\.0\.0)\.project\.conv)", "$1.conv_pw");
    name = with(name, R"((blocks\.0\.0)\.project\.norm)", "$1.bn2");
    name = with(name, R"(expand\.conv)", "conv_pw");
    name = with(name, R"(expand\.norm)", "bn1");
    name = with(name, R"(depthwise\.conv)", "conv_dw");
    name = with(name, R"(depthwise\.norm)", "bn2");
    name = with(name, R"(project\.conv)", "conv_pwl");
    return with(name, R"(project\.norm)", "bn3");
  }
  // V2-S's alone.
  static std::string torchvisions_name(std::string name) {
    name = with(name, R"(^stem\.conv)", "features.0.0");
    name = with(name, R"(^stem\.norm)", "features.0.1");
    name = with(name, R"(^head\.conv)", "features.7.0");
    name = with(name, R"(^head\.norm)", "features.7.1");
    for (int stage = 0; stage < 6; ++stage)
      name = with(name, ("^stages\\." + std::to_string(stage) + "\\.(\\d+)").c_str(),
                  ("features." + std::to_string(stage + 1) + ".$1.block").c_str());
    name = with(name, R"((features\.1\.\d+\.block)\.project\.conv)", "$1.0.0");
    name = with(name, R"((features\.1\.\d+\.block)\.project\.norm)", "$1.0.1");
    name = with(name, R"((features\.[23]\.\d+\.block)\.project\.conv)", "$1.1.0");
    name = with(name, R"((features\.[23]\.\d+\.block)\.project\.norm)", "$1.1.1");
    name = with(name, R"(se\.reduce)", "2.fc1");
    name = with(name, R"(se\.expand)", "2.fc2");
    name = with(name, R"(expand\.conv)", "0.0");
    name = with(name, R"(expand\.norm)", "0.1");
    name = with(name, R"(depthwise\.conv)", "1.0");
    name = with(name, R"(depthwise\.norm)", "1.1");
    name = with(name, R"(project\.conv)", "3.0");
    return with(name, R"(project\.norm)", "3.1");
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(SourceNumerics, FollowTimmsName) {
  const auto timm = [&](const char* name) {
    return load({{"architecture", name}}, "efficientnet-lite0", /*torchvision=*/false);
  };
  EXPECT_EQ(timm("tf_efficientnet_lite0").padding, Padding::kSame);
  EXPECT_EQ(timm("tf_efficientnet_lite0").batch_norm_eps, 1e-3);
  EXPECT_EQ(timm("efficientnet_lite0").padding, Padding::kSymmetric);
  EXPECT_EQ(timm("efficientnet_lite0").batch_norm_eps, 1e-5);
}

TEST_F(SourceNumerics, AreNotGuessedWhereTimmPublishesBoth) {
  nlohmann::json json = {{"architecture", "efficientnet-lite0"}};
  EXPECT_THAT(message_of([&] { load(json, "efficientnet-lite0", false); }), HasSubstr("tf_"));
  json["padding"] = "same";
  json["batch_norm_eps"] = 1e-3;
  EXPECT_EQ(load(json, "efficientnet-lite0", false).padding, Padding::kSame);
}

TEST_F(SourceNumerics, AreTorchvisionsForItsWeights) {
  for (const char* name : {"efficientnet_v2_s", "efficientnetv2-s"}) {
    const EfficientNetConfig config =
        load({{"architecture", name}}, "efficientnetv2-s", /*torchvision=*/true);
    EXPECT_EQ(config.padding, Padding::kSymmetric);
    EXPECT_EQ(config.batch_norm_eps, 1e-3);
  }
}

}  // namespace
}  // namespace bifocal::vision
