// OpenAI's /v1/embeddings (https://platform.openai.com/docs/api-reference/embeddings), with Jina's
// elements (https://jina.ai/embeddings) and vLLM's messages (https://docs.vllm.ai).

#include <gmock/gmock.h>

#include "wire_format.h"

namespace bifocal::http {
namespace {

using nlohmann::json;
using testing::bytes_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::WireFormat;

class OpenAi : public ::testing::Test {
 protected:
  static Request request(const json& body) { return WireFormat::request("/v1/embeddings", body); }
  WireFormat format{wire::openai_routes()};
};

TEST_F(OpenAi, InputIsAStringStringsTokenIdsOrListsOfThem) {
  auto items = format.items(request({{"input", "a cat"}}));
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].item.text, "a cat");

  items = format.items(request({{"input", {"a cat", "a dog"}}}));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_EQ(items[1].item.text, "a dog");

  items = format.items(request({{"input", {5, 6}}}));
  ASSERT_EQ(items.size(), 1u);
  EXPECT_THAT(*items[0].item.token_ids, ElementsAre(5, 6));
  EXPECT_FALSE(items[0].item.text);

  items = format.items(request({{"input", {{5, 6}, {7}}}}));
  ASSERT_EQ(items.size(), 2u);
  EXPECT_THAT(*items[1].item.token_ids, ElementsAre(7));
}

TEST_F(OpenAi, TheAnswerIsAListWithUsage) {
  std::vector<Result<Embedding>> results;
  results.emplace_back(WireFormat::embedding({0.5F, -0.25F}, 3));
  results.emplace_back(WireFormat::embedding({1, 0}, 4));
  const json answer =
      format.answer<EmbedWork>(request({{"input", {"a", "b"}}, {"user", "u"}}), results);
  EXPECT_EQ(answer, json::parse(R"({"object": "list", "model": "tiny",
      "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]},
               {"object": "embedding", "index": 1, "embedding": [1.0, 0.0]}],
      "usage": {"prompt_tokens": 7, "total_tokens": 7}})"));
}

// 1.0 is 00 00 80 3f and -2.0 is 00 00 00 c0, lowest byte first (IEEE 754).
TEST_F(OpenAi, Base64IsOfLittleEndianFloats) {
  const json answer =
      format.embedded(request({{"input", "a"}, {"encoding_format", "base64"}}), {{1, -2}});
  EXPECT_EQ(answer["data"][0]["embedding"], "AACAPwAAAMA=");
}

TEST_F(OpenAi, DimensionsCutAndBringBackToLengthOne) {
  const std::vector<float> vector{0.36F, 0.48F, 0.8F, 0, 0, 0, 0, 0};  // of length 1
  const json answer = format.embedded(request({{"input", "a"}, {"dimensions", 2}}), {vector});
  const auto cut = answer["data"][0]["embedding"].get<std::vector<float>>();
  ASSERT_EQ(cut.size(), 2u);
  EXPECT_FLOAT_EQ(cut[0], 0.6F);
  EXPECT_FLOAT_EQ(cut[1], 0.8F);
  const json whole = format.embedded(request({{"input", "a"}, {"dimensions", 8}}), {vector});
  EXPECT_EQ(whole["data"][0]["embedding"].get<std::vector<float>>(), vector);
  for (const int size : {0, 9, -1})
    EXPECT_THAT(format.refusal(request({{"input", "a"}, {"dimensions", size}})).message,
                HasSubstr("dimensions"));
}

TEST_F(OpenAi, JinasElementsAreATextOrAnImageEach) {
  const auto items = format.items(request(
      {{"input",
        {{{"text", "a cat"}}, {{"image", "Y2F0"}}, {{"image", "https://a.example/cat.png"}}}}}));
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].item.text, "a cat");
  EXPECT_EQ(bytes_of(items[1].item.image), "cat");
  EXPECT_EQ(items[2].image_url, "https://a.example/cat.png");
  EXPECT_THAT(format.refusal(request({{"input", {{{"text", "a"}, {"image", "Y2F0"}}}}})).message,
              HasSubstr("input[0]"));
}

// A bit a number, set from 0 upwards, the first number highest: 1010 1101 is 173, less 128 is 45.
TEST_F(OpenAi, JinasBinaryPacksBits) {
  const json answer = format.embedded(request({{"input", "a"}, {"embedding_type", "binary"}}),
                                      {{1, -1, 0.5F, -0.5F, 0, 0.25F, -0.25F, 0}});
  EXPECT_EQ(answer["data"][0]["embedding"], json({45}));
}

TEST_F(OpenAi, MessagesAreOneFusedItem) {
  const auto items = format.items(
      request({{"messages",
                {{{"role", "user"},
                  {"content",
                   {{{"type", "image_url"}, {"image_url", {{"url", "data:image/png;base64,Y2F0"}}}},
                    {{"type", "text"}, {"text", "a cat"}}}}},
                 {{"role", "user"}, {"content", "asleep"}}}}}));
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(bytes_of(items[0].item.image), "cat");
  EXPECT_EQ(items[0].item.text, "a cat\nasleep");
}

TEST_F(OpenAi, WhatIsNotHonouredIsNamed) {
  for (const auto& [field, value] :
       std::vector<std::pair<std::string, json>>{{"late_chunking", true},
                                                 {"task", "retrieval.query"},
                                                 {"normalized", false},
                                                 {"encoding_format", "hex"},
                                                 {"embedding_type", "ubinary"},
                                                 {"dimensions", "many"}}) {
    json body = {{"input", "a"}};
    body[field] = value;
    const auto refusal = format.refusal(request(body));
    EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument) << field;
    EXPECT_THAT(refusal.message, HasSubstr(field));
    EXPECT_THAT(refusal.body["error"]["message"].get<std::string>(), HasSubstr(field));
  }
}

TEST_F(OpenAi, AnErrorHasOpenAisForm) {
  const auto refusal = format.refusal(request({{"input", "a"}, {"model", "other"}}));
  EXPECT_EQ(refusal.code, ErrorCode::kNotFound);
  const json& error = refusal.body.at("error");
  EXPECT_EQ(error["type"], "invalid_request_error");
  EXPECT_EQ(error["param"], nullptr);
  EXPECT_EQ(error["code"], "not_found");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("other"));
}

TEST_F(OpenAi, OneItemsErrorIsTheRequestsAndSaysWhose) {
  std::vector<Result<Embedding>> results;
  results.emplace_back(WireFormat::embedding({1}));
  results.emplace_back(Error(ErrorCode::kInvalidText, "the text is empty"));
  const auto refusal = format.refusal([&] {
    format.write<EmbedWork, Embedding>(request({{"input", {"a", ""}}}), results);
  });
  EXPECT_EQ(refusal.code, ErrorCode::kInvalidText);
  EXPECT_EQ(refusal.message, "input[1]: the text is empty");
}

TEST_F(OpenAi, HoldsItsLimits) {
  format.limits.max_items = 2;
  format.limits.max_images = 1;
  EXPECT_EQ(format.refusal(request({{"input", {"a", "b", "c"}}})).code, ErrorCode::kTooLarge);
  EXPECT_EQ(format.refusal(request({{"input", {{{"image", "Y2F0"}}, {{"image", "Y2F0"}}}}})).code,
            ErrorCode::kTooLarge);
  EXPECT_EQ(format.refusal(request({{"input", json::array()}})).code, ErrorCode::kInvalidArgument);
}

TEST_F(OpenAi, NeedsOneOfInputAndMessages) {
  for (const json& body : {json::object(), json({{"input", "a"}, {"messages", json::array()}})})
    EXPECT_THAT(format.refusal(request(body)).message, HasSubstr("one of input and messages"));
}

}  // namespace
}  // namespace bifocal::http
