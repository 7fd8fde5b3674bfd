// /v1/search and what is added to its index.

#include <gmock/gmock.h>

#include "wire_format.h"

namespace bifocal::http {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::WireFormat;

class Search : public ::testing::Test {
 protected:
  json add(const json& items, const std::vector<std::vector<float>>& vectors) {
    return format.embedded(WireFormat::request("/v1/search/items", json({{"items", items}})),
                           vectors);
  }
  WireFormat format{wire::search_routes()};
};

TEST_F(Search, FindsTheNearestOfWhatWasAdded) {
  EXPECT_EQ(add({{{"id", "x"}, {"text", "a"}}, {{"id", "y"}, {"text", "b"}}},
                {{1, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0}}),
            json::parse(R"({"added": 2, "errors": [],
                            "index": {"size": 2, "approximate": false}})"));
  const json found = format.embedded(
      WireFormat::request("/v1/search", json({{"query", {{"text", "a"}}}, {"k", 1}})),
      {{0.6F, 0.8F, 0, 0, 0, 0, 0, 0}});
  ASSERT_EQ(found["data"].size(), 1u);
  EXPECT_EQ(found["data"][0]["id"], "y");
  EXPECT_FLOAT_EQ(found["data"][0]["score"].get<float>(), 0.8F);
}

TEST_F(Search, AnItemThatFailsIsToldAndTheOthersAreAdded) {
  std::vector<Result<Embedding>> results;
  results.emplace_back(Error(ErrorCode::kInvalidText, "the text is empty"));
  results.emplace_back(WireFormat::embedding({1, 0, 0, 0, 0, 0, 0, 0}));
  const json answer = format.answer<EmbedWork>(
      WireFormat::request(
          "/v1/search/items",
          json({{"items", {{{"id", "x"}, {"text", ""}}, {{"id", "y"}, {"text", "b"}}}}})),
      results);
  EXPECT_EQ(answer["added"], 1);
  EXPECT_EQ(answer["errors"][0]["id"], "x");
  EXPECT_EQ(answer["errors"][0]["error"]["code"], "invalid_text");
}

TEST_F(Search, WhatWasAddedCanBeRemovedOnce) {
  add({{{"id", "x"}, {"text", "a"}}}, {{1, 0, 0, 0, 0, 0, 0, 0}});
  const auto remove = [] { return WireFormat::request("/v1/search/items?id=x", "", "", "DELETE"); };
  EXPECT_EQ(format.answer(remove())["removed"], 1);
  EXPECT_EQ(format.refusal(remove()).code, ErrorCode::kNotFound);
}

TEST_F(Search, WhatIsNotHonouredIsNamed) {
  const auto message = [&](const std::string& path, const json& body) {
    return format.refusal(WireFormat::request(path, body)).message;
  };
  EXPECT_THAT(message("/v1/search", {{"query", {{"text", "a"}}}, {"filter", "b"}}),
              HasSubstr("filter"));
  EXPECT_THAT(message("/v1/search", {{"query", {{"text", "a"}}}, {"k", 0}}), HasSubstr("k is 0"));
  EXPECT_THAT(message("/v1/search", json::object()), HasSubstr("query"));
  EXPECT_THAT(message("/v1/search/items", {{"items", {{{"text", "a"}}}}}),
              HasSubstr("items[0] has no id"));
}

}  // namespace
}  // namespace bifocal::http
