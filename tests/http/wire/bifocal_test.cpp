// Our own API: /v1/fused/embeddings, /v1/match, /v1/classify, /v1/tokenize and /v1/models.

#include <gmock/gmock.h>

#include "wire_format.h"

namespace bifocal::http {
namespace {

using nlohmann::json;
using testing::bytes_of;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::WireFormat;

const std::string kEmbed = "/v1/fused/embeddings";

class Bifocal : public ::testing::Test {
 protected:
  static Request request(const json& body) { return WireFormat::request(kEmbed, body); }
  WireFormat format{wire::bifocal_routes()};
};

TEST_F(Bifocal, ItemsHoldAnImageATextTokenIdsOrBothSides) {
  const auto items = format.items(
      request({{"items",
                {{{"id", "x"}, {"text", "a cat"}, {"image", "data:image/png;base64,Y2F0"}},
                 {{"image", "ZG9n"}},
                 {{"token_ids", {1, 2}}},
                 {{"image", "HTTPS://a.example/b.png"}},
                 {{"image", "not base64!"}}}}}));
  ASSERT_EQ(items.size(), 5u);
  EXPECT_EQ(items[0].item.id, "x");
  EXPECT_EQ(items[0].item.text, "a cat");
  EXPECT_EQ(bytes_of(items[0].item.image), "cat");
  EXPECT_EQ(bytes_of(items[1].item.image), "dog");
  EXPECT_THAT(*items[2].item.token_ids, ElementsAre(1, 2));
  EXPECT_EQ(items[3].image_url, "HTTPS://a.example/b.png");
  EXPECT_EQ(items[4].error.value().code(), ErrorCode::kInvalidItem);  // alone
}

TEST_F(Bifocal, EachItemIsAnsweredInItsPlaceWithWhatWasDone) {
  Embedding good = WireFormat::embedding({0.5F, -0.5F}, 4, 30, 20);
  good.provenance.cut_tokens = 2;
  good.provenance.windows = 1;
  const json answer = format.answer<EmbedWork>(
      request({{"items", {{{"id", "x"}, {"text", "a"}}, {{"id", "y"}, {"text", ""}}}}}),
      std::vector<Result<Embedding>>{good, Error(ErrorCode::kInvalidText, "the text is empty")});
  EXPECT_EQ(answer["data"], json::parse(R"([
      {"object": "embedding", "index": 0, "id": "x", "embedding": [0.5, -0.5], "side": "fused",
       "tokens": 4, "cut_tokens": 2, "windows": 1, "image": {"width": 30, "height": 20}},
      {"object": "error", "index": 1, "id": "y",
       "error": {"code": "invalid_text", "message": "the text is empty"}}])"));
  EXPECT_EQ(answer["usage"]["images"], 1);
}

// The shortest decimals that read back as the same float.
TEST_F(Bifocal, FloatsAreWrittenShortAndExact) {
  const std::vector<float> vector{0.1F, 1.0F / 3, 1e-8F, -0.0F, 3.4028235e38F, 1e-45F, 123456.79F};
  const Response response = format.write<EmbedWork, Embedding>(
      request({{"items", {{{"text", "a"}}}}}), {WireFormat::embedding(vector)});
  EXPECT_THAT(response.body, HasSubstr("[0.1,0.33333334,1e-08,"));
  const auto back = json::parse(response.body)["data"][0]["embedding"].get<std::vector<double>>();
  ASSERT_EQ(back.size(), vector.size());
  for (std::size_t i = 0; i < vector.size(); ++i) EXPECT_EQ(static_cast<float>(back[i]), vector[i]);
}

TEST_F(Bifocal, Base64AndDimensions) {
  json body = {{"items", {{{"text", "a"}}}}, {"encoding_format", "base64"}};
  EXPECT_EQ(format.embedded(request(body), {{1, -2}})["data"][0]["embedding"], "AACAPwAAAMA=");
  body = {{"items", {{{"text", "a"}}}}, {"dimensions", 2}};
  const json cut = format.embedded(request(body), {{0.36F, 0.48F, 0.8F, 0, 0, 0, 0, 0}});
  EXPECT_FLOAT_EQ(cut["data"][0]["embedding"][0].get<float>(), 0.6F);
}

TEST_F(Bifocal, OptionsAreRead) {
  const auto work = format.read_as<EmbedWork>(request({{"items", {{{"text", "a"}}}},
                                                       {"side", "text"},
                                                       {"long_text", "windows"},
                                                       {"max_tokens", 16}}));
  EXPECT_EQ(work.options.side, Side::kText);
  EXPECT_EQ(work.options.long_text, LongText::kWindows);
  EXPECT_EQ(work.options.max_tokens, 16);
}

TEST_F(Bifocal, AFormIsOneItem) {
  const auto work = format.read_as<EmbedWork>(WireFormat::request(
      kEmbed,
      "--b\r\nContent-Disposition: form-data; name=\"image\"; filename=\"c.png\"\r\n"
      "Content-Type: image/png\r\n\r\n\x01\x02\r\n--b\r\n"
      "Content-Disposition: form-data; name=\"text\"\r\n\r\na cat\r\n--b\r\n"
      "Content-Disposition: form-data; name=\"side\"\r\n\r\nimage\r\n--b--\r\n",
      "multipart/form-data; boundary=b"));
  ASSERT_EQ(work.items.size(), 1u);
  EXPECT_EQ(bytes_of(work.items[0].item.image), "\x01\x02");
  EXPECT_EQ(work.items[0].item.text, "a cat");
  EXPECT_EQ(work.options.side, Side::kImage);
}

TEST_F(Bifocal, ARawImageIsOneItemWithItsTextInTheQuery) {
  const auto work = format.read_as<EmbedWork>(
      WireFormat::request(kEmbed + "?text=a%20cat&id=x&dimensions=4", "cat", "image/jpeg"));
  ASSERT_EQ(work.items.size(), 1u);
  EXPECT_EQ(bytes_of(work.items[0].item.image), "cat");
  EXPECT_EQ(work.items[0].item.text, "a cat");
  EXPECT_EQ(work.items[0].item.id, "x");
}

TEST_F(Bifocal, WhatIsNotHonouredIsNamed) {
  for (const auto& [body, word] : std::vector<std::pair<json, std::string>>{
           {{{"items", {{{"text", "a"}}}}, {"pooling", "mean"}}, "pooling"},
           {{{"items", {{{"text", "a"}, {"audio", "b"}}}}}, "items[0].audio"},
           {{{"items", {{{"text", 5}}}}}, "items[0].text"},
           {{{"items", {{{"text", "a"}}}}, {"side", "left"}}, "side"}}) {
    const auto refusal = format.refusal(request(body));
    EXPECT_EQ(refusal.code, ErrorCode::kInvalidArgument);
    EXPECT_THAT(refusal.message, HasSubstr(word));
    EXPECT_EQ(refusal.body["error"]["message"], refusal.message);
  }
  EXPECT_EQ(format.refusal(WireFormat::request(kEmbed, "a", "text/plain")).code,
            ErrorCode::kUnsupportedMedia);
}

TEST_F(Bifocal, AnImageBeyondItsLimitFailsAlone) {
  format.limits.max_image_bytes = 4;
  const auto items =
      format.items(request({{"items", {{{"image", "MTIzNDU2Nzg5MDEy"}}, {{"image", "MTIz"}}}}}));
  EXPECT_EQ(items.at(0).error.value().code(), ErrorCode::kImageTooLarge);
  EXPECT_FALSE(items.at(1).error);
}

TEST_F(Bifocal, MatchTellsProbabilityLogitAndCosine) {
  Match match;
  match.probability = 0.75F;
  match.logit = 1.5F;
  match.cosine = 0.25F;
  const json answer = format.answer<MatchWork>(
      WireFormat::request("/v1/match", json({{"items", {{{"text", "a"}, {"image", "Y2F0"}}}}})),
      std::vector<Result<Match>>{match});
  EXPECT_EQ(answer["data"][0],
            json::parse(R"({"object": "match", "index": 0, "probability": 0.75, "logit": 1.5,
                            "cosine": 0.25})"));
}

TEST_F(Bifocal, ClassifyTellsLabelsBestFirst) {
  Classification classes;
  classes.label_set = "colours";
  classes.scores = {{"red", 0.75F}, {"green", 0.25F}};
  const json body = {
      {"items", {{{"text", "a"}}}}, {"label_set", "colours"}, {"top_k", 2}, {"side", "text"}};
  const auto work = format.read_as<ClassifyWork>(WireFormat::request("/v1/classify", body));
  EXPECT_EQ(work.options.label_set, "colours");
  EXPECT_EQ(work.options.top_k, 2u);
  const json answer = format.answer<ClassifyWork>(WireFormat::request("/v1/classify", body),
                                                  std::vector<Result<Classification>>{classes});
  EXPECT_EQ(answer["data"][0]["scores"],
            json::parse(R"([{"label": "red", "score": 0.75}, {"label": "green", "score": 0.25}])"));
}

TEST_F(Bifocal, TokenizeAndModels) {
  const json tokens =
      format.answer(WireFormat::request("/v1/tokenize", json({{"texts", {"ab", "c"}}})));
  EXPECT_EQ(tokens["data"][0]["tokens"][1],
            json::parse(R"({"id": 98, "piece": "b", "begin": 1, "end": 2, "special": false})"));
  EXPECT_EQ(tokens["data"][1]["tokens"].size(), 1u);
  const json models = format.answer(WireFormat::get("/v1/models"));
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][0]["embedding_size"], 8);
  EXPECT_EQ(format.answer(WireFormat::get("/v1/models/default"))["id"], "default");
  EXPECT_EQ(format.refusal(WireFormat::get("/v1/models/other")).code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace bifocal::http
