// The paths of Text Embeddings Inference: https://huggingface.github.io/text-embeddings-inference/

#include <gmock/gmock.h>

#include "wire_format.h"

namespace bifocal::http {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::WireFormat;

class Tei : public ::testing::Test {
 protected:
  static Request request(const std::string& path, const json& body) {
    return WireFormat::request(path, body);
  }
  WireFormat format{wire::tei_routes()};
};

TEST_F(Tei, EmbedTakesTextsOrIdsAndGivesAListOfVectors) {
  EXPECT_EQ(format.items(request("/embed", {{"inputs", "a"}}))[0].item.text, "a");
  EXPECT_EQ(format.items(request("/embed", {{"inputs", {"a", "b"}}}))[1].item.text, "b");
  EXPECT_THAT(*format.items(request("/embed", {{"inputs", {4, 5}}}))[0].item.token_ids,
              ElementsAre(4, 5));
  EXPECT_THAT(*format.items(request("/embed", {{"inputs", {{4, 5}, {6}}}}))[1].item.token_ids,
              ElementsAre(6));
  EXPECT_EQ(format.embedded(request("/embed", {{"inputs", "a"}}), {{0.5F, -0.5F}}),
            json::parse("[[0.5, -0.5]]"));
  EXPECT_EQ(format
                .embedded(request("/embed", {{"inputs", "a"}, {"dimensions", 2}}),
                          {{0.6F, 0.8F, 0, 0, 0, 0, 0, 0}})[0]
                .size(),
            2u);
}

TEST_F(Tei, TruncationHasADirection) {
  const auto long_text = [&](json more) {
    more["inputs"] = "a";
    return format.read_as<EmbedWork>(request("/embed", more)).options.long_text;
  };
  EXPECT_EQ(long_text({{"truncate", true}}), LongText::kTruncate);
  EXPECT_EQ(long_text({{"truncate", true}, {"truncation_direction", "Left"}}), LongText::kKeepEnd);
  EXPECT_EQ(long_text({{"truncate", false}}), LongText::kRefuse);
  EXPECT_EQ(long_text({{"truncate", nullptr}}), LongText::kTruncate);
}

TEST_F(Tei, EmbedAllHasARowForEachToken) {
  engine::TokenStates states;
  states.hidden_size = 2;
  states.values = {1, 2, 3, 4, 5, 6};
  std::vector<Result<engine::TokenStates>> results{states};
  EXPECT_EQ(format.answer<TokenStatesWork>(request("/embed_all", {{"inputs", "a"}}), results),
            json::parse("[[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]"));
}

TEST_F(Tei, SimilarityIsTheSourcesCosineWithEachSentence) {
  const Request asked =
      request("/similarity", {{"inputs", {{"source_sentence", "a"}, {"sentences", {"b", "c"}}}}});
  const auto items = format.items(asked);
  ASSERT_EQ(items.size(), 3u);
  EXPECT_EQ(items[0].item.text, "a");
  EXPECT_EQ(items[2].item.text, "c");
  EXPECT_EQ(format.embedded(asked, {{1, 0}, {0.5F, 0}, {-1, 0}}), json::parse("[0.5, -1.0]"));
}

TEST_F(Tei, RerankGivesTheBestFirst) {
  json body = {{"query", "q"}, {"texts", {"far", "near", "middle"}}, {"raw_scores", true}};
  const std::vector<std::vector<float>> vectors{{1, 0}, {-0.5F, 0}, {1, 0}, {0.25F, 0}};
  EXPECT_EQ(format.embedded(request("/rerank", body), vectors),
            json::parse(R"([{"index": 1, "score": 1.0}, {"index": 2, "score": 0.25},
                            {"index": 0, "score": -0.5}])"));
  body["return_text"] = true;
  EXPECT_EQ(format.embedded(request("/rerank", body), vectors)[0]["text"], "near");
  body["raw_scores"] = false;  // from 0 to 1
  const json scaled = format.embedded(request("/rerank", body), vectors);
  EXPECT_EQ(scaled[0]["score"], 1.0);
  EXPECT_EQ(scaled[2]["score"], 0.25);
}

TEST_F(Tei, AnImageAsTheQueryIsMatchedWithEachText) {
  const Request asked =
      request("/rerank", {{"query", "data:image/png;base64,Y2F0"}, {"texts", {"a dog", "a cat"}}});
  const auto items = format.items(asked);
  ASSERT_EQ(items.size(), 2u);
  for (const WorkItem& item : items) EXPECT_EQ(testing::bytes_of(item.item.image), "cat");
  Match low, high;
  low.probability = 0.25F;
  high.probability = 0.75F;
  EXPECT_EQ(format.answer<MatchWork>(asked, std::vector<Result<Match>>{low, high}),
            json::parse(R"([{"index": 1, "score": 0.75}, {"index": 0, "score": 0.25}])"));
}

TEST_F(Tei, PredictIsAListOfScoresOrOfListsForABatch) {
  Classification one;
  one.scores = {{"red", 0.75F}, {"green", 0.25F}};
  EXPECT_EQ(format.answer<ClassifyWork>(request("/predict", {{"inputs", "a"}}),
                                        std::vector<Result<Classification>>{one}),
            json::parse(R"([{"score": 0.75, "label": "red"}, {"score": 0.25, "label": "green"}])"));
  EXPECT_EQ(
      format.answer<ClassifyWork>(request("/predict", {{"inputs", {{"a"}, {"b"}}}}),
                                  std::vector<Result<Classification>>{one, one})[1][1]["label"],
      "green");
  EXPECT_THAT(format.refusal(request("/predict", {{"inputs", {{"a", "b"}}}})).message,
              HasSubstr("pair"));
}

// The tokenizer of the model that is not there takes a byte as a token.
TEST_F(Tei, TokenizeTellsEachTokensPlace) {
  EXPECT_EQ(format.answer(request("/tokenize", {{"inputs", "ab"}})),
            json::parse(R"([[{"id": 97, "text": "a", "special": false, "start": 0, "stop": 1},
                             {"id": 98, "text": "b", "special": false, "start": 1, "stop": 2}]])"));
}

TEST_F(Tei, DecodeTakesOneListOrSeveral) {
  EXPECT_EQ(format.answer(request("/decode", {{"ids", {1, 2}}})), json({"xx"}));
  EXPECT_EQ(format.answer(request("/decode", {{"ids", {{1}, {2, 3}}}})), json({"x", "xx"}));
}

TEST_F(Tei, InfoHasEveryKeyOfTeis) {
  const json info = format.answer(WireFormat::get("/info"));
  for (const char* key : {"model_id", "model_sha", "model_dtype", "served_model_name", "model_type",
                          "max_concurrent_requests", "max_input_length", "max_batch_tokens",
                          "max_batch_requests", "max_client_batch_size", "auto_truncate",
                          "tokenization_workers", "version", "sha", "docker_label"})
    EXPECT_TRUE(info.contains(key)) << key;
  EXPECT_EQ(info["served_model_name"], "tiny");
  EXPECT_EQ(info["max_input_length"], 32);
}

TEST_F(Tei, WhatIsNotHonouredIsNamed) {
  for (const auto& [path, field, value] : std::vector<std::tuple<std::string, std::string, json>>{
           {"/embed", "normalize", false},
           {"/embed", "prompt_name", "query"},
           {"/embed", "truncation_direction", "Up"},
           {"/embed_all", "dimensions", 4},
           {"/predict", "raw_scores", true},
           {"/tokenize", "prompt_name", "query"}}) {
    const auto refusal = format.refusal(request(path, {{"inputs", "a"}, {field, value}}));
    EXPECT_THAT(refusal.message, HasSubstr(field));
    EXPECT_EQ(refusal.body, json({{"error", refusal.message}, {"error_type", "Validation"}}));
  }
}

TEST_F(Tei, ErrorsHaveTeisTypes) {
  for (const auto& [code, type] :
       std::vector<std::pair<ErrorCode, std::string>>{{ErrorCode::kOverloaded, "Overloaded"},
                                                      {ErrorCode::kUnavailable, "Unhealthy"},
                                                      {ErrorCode::kInvalidText, "Tokenizer"},
                                                      {ErrorCode::kInternal, "Backend"},
                                                      {ErrorCode::kTooLarge, "Validation"}}) {
    const auto refusal = format.refusal([&] {
      format.write<EmbedWork, Embedding>(request("/embed", {{"inputs", "a"}}),
                                         {Error(code, "why")});
    });
    EXPECT_EQ(refusal.body["error_type"], type);
  }
}

}  // namespace
}  // namespace bifocal::http
