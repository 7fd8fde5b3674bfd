// Cohere's /v2/embed: https://docs.cohere.com/reference/embed

#include <gmock/gmock.h>

#include <algorithm>

#include "core/base64.h"
#include "encoded_picture.h"
#include "wire_format.h"

namespace bifocal::http {
namespace {

using nlohmann::json;
using testing::bytes_of;
using ::testing::HasSubstr;
using testing::WireFormat;

class Cohere : public ::testing::Test {
 protected:
  static Request request(json body) {
    body["model"] = "tiny";
    body["input_type"] = "search_document";
    return WireFormat::request("/v2/embed", body);
  }
  static EmbedOptions options_of(WireFormat& format, const json& body) {
    return format.read_as<EmbedWork>(request(body)).options;
  }
  WireFormat format{wire::cohere_routes()};
};

TEST_F(Cohere, TheOuterListIsTheBatchAndTheInnerOneIsFused) {
  const auto items = format.items(request(
      {{"inputs",
        {{{"content",
           {{{"type", "text"}, {"text", "a cat"}},
            {{"type", "image_url"}, {"image_url", {{"url", "data:image/png;base64,Y2F0"}}}}}}},
         {{"content", {{{"type", "text"}, {"text", "a dog"}}}}}}}}));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].item.text, "a cat");
  EXPECT_EQ(bytes_of(items[0].item.image), "cat");
  EXPECT_EQ(items[1].item.text, "a dog");
  EXPECT_FALSE(items[1].item.image);
}

TEST_F(Cohere, TextsAndImagesAreAnItemEach) {
  const auto texts = format.items(request({{"texts", {"a", "b"}}}));
  ASSERT_EQ(texts.size(), 2u);
  EXPECT_EQ(texts[1].item.text, "b");
  const auto images = format.items(request({{"images", {"data:image/png;base64,Y2F0"}}}));
  ASSERT_EQ(images.size(), 1u);
  EXPECT_EQ(bytes_of(images[0].item.image), "cat");
  EXPECT_THAT(format.refusal(request({{"images", {"Y2F0"}}})).message, HasSubstr("images[0]"));
}

// int8 is round(127 x), uint8 that + 128; bits as in jina: 1010 1101 is 173, and 173 - 128 is 45.
TEST_F(Cohere, EachEncodingOfOneVector) {
  const std::vector<float> vector{1, -1, 0.5F, -0.5F, 0, 0.25F, -0.25F, 0};
  const json answer = format.embedded(
      request({{"texts", {"a"}},
               {"embedding_types", {"float", "int8", "uint8", "binary", "ubinary", "base64"}}}),
      {vector});
  EXPECT_EQ(answer["response_type"], "embeddings_by_type");
  const json& by_type = answer["embeddings"];
  EXPECT_EQ(by_type["float"], json::parse("[[1.0, -1.0, 0.5, -0.5, 0.0, 0.25, -0.25, 0.0]]"));
  EXPECT_EQ(by_type["int8"], json::parse("[[127, -127, 64, -64, 0, 32, -32, 0]]"));
  EXPECT_EQ(by_type["uint8"], json::parse("[[255, 1, 192, 64, 128, 160, 96, 128]]"));
  EXPECT_EQ(by_type["binary"], json::parse("[[45]]"));
  EXPECT_EQ(by_type["ubinary"], json::parse("[[173]]"));
  const auto bytes = core::base64_decode(by_type["base64"][0].get<std::string>());
  ASSERT_EQ(bytes.size(), sizeof(float) * vector.size());
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), std::as_bytes(std::span(vector)).begin()));
  EXPECT_EQ(by_type.size(), 6u);
}

// 12 numbers: the second byte's last four bits are zeros. 1111 1111 is 255, 1010 0000 is 160.
TEST_F(Cohere, BitsThatAreLeftOverAreZero) {
  const json answer =
      format.embedded(request({{"texts", {"a"}}, {"embedding_types", {"ubinary", "binary"}}}),
                      {{1, 1, 1, 1, 1, 1, 1, 1, 1, -1, 1, -1}});
  EXPECT_EQ(answer["embeddings"]["ubinary"], json::parse("[[255, 160]]"));
  EXPECT_EQ(answer["embeddings"]["binary"], json::parse("[[127, 32]]"));
}

TEST_F(Cohere, FloatsAloneWhereNothingIsSaid) {
  const json answer = format.embedded(request({{"texts", {"a"}}}), {{1, 0}});
  EXPECT_EQ(answer["embeddings"], json::parse(R"({"float": [[1.0, 0.0]]})"));
}

TEST_F(Cohere, OutputDimensionCutsBeforeItEncodes) {
  const json answer = format.embedded(
      request({{"texts", {"a"}}, {"output_dimension", 2}, {"embedding_types", {"float", "int8"}}}),
      {{0.36F, 0.48F, 0.8F, 0, 0, 0, 0, 0}});
  EXPECT_EQ(answer["embeddings"]["int8"], json::parse("[[76, 102]]"));  // 127 times 0.6 and 0.8
  EXPECT_FLOAT_EQ(answer["embeddings"]["float"][0][0].get<float>(), 0.6F);
}

TEST_F(Cohere, TellsWhatWasSentAndWhatItCost) {
  const std::string picture =
      core::base64_encode(bifocal::testing::encoded_picture(1, /*width=*/20, /*height=*/10));
  std::vector<Result<Embedding>> results;
  results.emplace_back(WireFormat::embedding({1}, 0, 20, 10));
  json answer = format.answer<EmbedWork>(
      request({{"images", {"data:image/png;base64," + picture}}}), results);
  EXPECT_EQ(answer["id"], "the-id");
  EXPECT_EQ(answer["images"], json::parse(R"([{"width": 20, "height": 10, "format": "png",
                                               "bit_depth": 24}])"));
  EXPECT_EQ(answer["meta"]["api_version"]["version"], "2");
  EXPECT_EQ(answer["meta"]["billed_units"], json::parse(R"({"input_tokens": 0, "images": 1})"));
  EXPECT_EQ(answer["meta"]["warnings"], json::array());

  results.clear();
  results.emplace_back(WireFormat::embedding({1}, 5));
  answer = format.answer<EmbedWork>(request({{"texts", {"a cat"}}}), results);
  EXPECT_EQ(answer["texts"], json({"a cat"}));
  EXPECT_EQ(answer["meta"]["billed_units"]["input_tokens"], 5);
}

TEST_F(Cohere, TruncateSaysWhichEndIsKept) {
  const auto long_text = [&](const char* word) {
    return options_of(format, {{"texts", {"a"}}, {"truncate", word}}).long_text;
  };
  EXPECT_EQ(long_text("END"), LongText::kTruncate);
  EXPECT_EQ(long_text("START"), LongText::kKeepEnd);
  EXPECT_EQ(long_text("NONE"), LongText::kRefuse);
  EXPECT_EQ(options_of(format, {{"texts", {"a"}}, {"max_tokens", 16}}).max_tokens, 16);
}

TEST_F(Cohere, WhatIsNotHonouredIsNamed) {
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, json>>{{"return_hidden", true},
                                                 {"embedding_types", {"int4"}},
                                                 {"embedding_types", json::array()},
                                                 {"truncate", "MIDDLE"},
                                                 {"output_dimension", 9},
                                                 {"priority", 1000}}) {
    json body = {{"texts", {"a"}}};
    body[field] = value;
    const auto refusal = format.refusal(request(body));
    EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument) << field;
    EXPECT_EQ(refusal.body["message"], refusal.message);
    EXPECT_EQ(refusal.body["id"], "the-id");
    if (field != "output_dimension") {
      EXPECT_THAT(refusal.message, HasSubstr(field));
    }
  }
}

TEST_F(Cohere, TakesExactlyOneOfTextsImagesAndInputs) {
  EXPECT_EQ(format.refusal(request(json::object())).code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(
      format
          .refusal(request(
              {{"texts", {"a"}}, {"inputs", {{{"content", {{{"type", "text"}, {"text", "b"}}}}}}}}))
          .code,
      ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace bifocal::http
