// Voyage's /v1/multimodalembeddings: https://docs.voyageai.com/reference/multimodal-embeddings-api

#include <gmock/gmock.h>

#include "wire_format.h"

namespace bifocal::http {
namespace {

using nlohmann::json;
using testing::bytes_of;
using ::testing::HasSubstr;
using testing::WireFormat;

class Voyage : public ::testing::Test {
 protected:
  static Request request(json body) {
    if (!body.contains("inputs"))
      body["inputs"] = {{{"content", {{{"type", "text"}, {"text", "a"}}}}}};
    return WireFormat::request("/v1/multimodalembeddings", body);
  }
  WireFormat format{wire::voyage_routes()};
};

TEST_F(Voyage, EachInputsContentIsFused) {
  const auto items = format.items(request(
      {{"inputs",
        {{{"content",
           {{{"type", "text"}, {"text", "a cat"}},
            {{"type", "image_base64"}, {"image_base64", "data:image/png;base64,Y2F0"}}}}},
         {{"content", {{{"type", "image_url"}, {"image_url", "https://a.example/dog.jpg"}}}}}}},
       {"model", "tiny"},
       {"input_type", nullptr}}));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[0].item.text, "a cat");
  EXPECT_EQ(bytes_of(items[0].item.image), "cat");
  EXPECT_EQ(items[1].image_url, "https://a.example/dog.jpg");
}

TEST_F(Voyage, TheAnswerIsOpenAisWithPixels) {
  std::vector<Result<Embedding>> results;
  results.emplace_back(WireFormat::embedding({0.5F, -0.5F}, 4, 30, 20));
  const json answer = format.answer<EmbedWork>(request(json::object()), results);
  EXPECT_EQ(answer["object"], "list");
  EXPECT_EQ(answer["model"], "tiny");
  EXPECT_EQ(answer["data"],
            json::parse(R"([{"object": "embedding", "embedding": [0.5, -0.5], "index": 0}])"));
  EXPECT_EQ(answer["usage"]["text_tokens"], 4);
  EXPECT_EQ(answer["usage"]["image_pixels"], 600);
}

TEST_F(Voyage, Base64IsOfLittleEndianFloats) {
  const json answer = format.embedded(request({{"output_encoding", "base64"}}), {{1, -2}});
  EXPECT_EQ(answer["data"][0]["embedding"], "AACAPwAAAMA=");
}

TEST_F(Voyage, TruncationIsOnUnlessItIsSwitchedOff) {
  EXPECT_EQ(format.read_as<EmbedWork>(request(json::object())).options.long_text,
            LongText::kTruncate);
  EXPECT_EQ(format.read_as<EmbedWork>(request({{"truncation", false}})).options.long_text,
            LongText::kRefuse);
}

TEST_F(Voyage, WhatIsNotHonouredIsNamed) {
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, json>>{{"output_dtype", "int8"},
                                                 {"input_type", "image"},
                                                 {"output_encoding", "hex"},
                                                 {"truncation", "yes"}}) {
    const auto refusal = format.refusal(request({{field, value}}));
    EXPECT_THAT(refusal.message, HasSubstr(field));
    EXPECT_EQ(refusal.body, json({{"detail", refusal.message}}));
  }
}

TEST_F(Voyage, ASecondImageOfOneInputIsRefusedByItsPlace) {
  const json part = {{"type", "image_base64"}, {"image_base64", "data:image/png;base64,Y2F0"}};
  EXPECT_THAT(format.refusal(request({{"inputs", {{{"content", {part, part}}}}}})).message,
              HasSubstr("inputs[0].content[1]"));
  EXPECT_THAT(
      format.refusal(request({{"inputs", {{{"content", {{{"type", "video_url"}}}}}}}})).message,
      HasSubstr("video_url"));
}

}  // namespace
}  // namespace bifocal::http
