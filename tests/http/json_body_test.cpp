#include "json_body.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.message();
  }
  return "no error";
}

TEST(ParseJson, GivesWhatTheLibraryGives) {
  for (const char* text :
       {"{}", "[]", "1", "-0.5e3", "\"a\\u00e9\\ud83d\\ude00\"", "true", "null",
        R"({"a": [1, {"b": [[], {}, "x"]}, null], "c": {"a": 18446744073709551615}})"})
    EXPECT_EQ(parse_json(text, 8), nlohmann::json::parse(text)) << text;
}

TEST(ParseJson, CountsDepthBeforeItHurts) {
  EXPECT_NO_THROW(parse_json("[[[[]]]]", 4));
  EXPECT_THAT(refusal([] { parse_json("[[[[[]]]]]", 4); }), HasSubstr("deeper than 4"));
  EXPECT_THAT(refusal([] { parse_json(std::string(5'000'000, '['), 32); }), HasSubstr("deeper"));
  EXPECT_THAT(refusal([] {
                std::string deep;
                for (int i = 0; i < 100'000; ++i) deep += "{\"a\":";
                parse_json(deep, 32);
              }),
              HasSubstr("deeper"));
}

TEST(ParseJson, SaysWhatIsWrong) {
  EXPECT_THAT(refusal([] { parse_json("", 8); }), HasSubstr("empty"));
  EXPECT_THAT(refusal([] { parse_json(" \n", 8); }), HasSubstr("empty"));
  EXPECT_THAT(refusal([] { parse_json("{\"a\": }", 8); }), HasSubstr("byte 7"));
  EXPECT_THAT(refusal([] { parse_json(R"({"a": 1, "a": 2})", 8); }), HasSubstr("\"a\" twice"));
  EXPECT_THAT(refusal([] { parse_json("\"\xff\"", 8); }), HasSubstr("not JSON"));
  EXPECT_THAT(refusal([] { parse_json("[1] 2", 8); }), HasSubstr("not JSON"));
  EXPECT_NE(refusal([] { parse_json("[1e999]", 8); }), "no error");
  EXPECT_NE(refusal([] { parse_json("[NaN]", 8); }), "no error");
}

TEST(JsonObject, NamesThePlaceAndWhatWasExpected) {
  const auto value = nlohmann::json::parse(
      R"({"text": "a", "number": 3, "big": 18446744073709551615, "flag": true, "none": null})");
  const JsonObject object(value, "items[3]");
  EXPECT_EQ(object.string("text"), "a");
  EXPECT_EQ(object.integer("number", 0, 3), 3);
  EXPECT_EQ(object.optional_boolean("flag"), true);
  EXPECT_FALSE(object.has("none"));
  EXPECT_FALSE(object.optional_string("none"));
  EXPECT_THAT(refusal([&] { object.string("number"); }), HasSubstr("items[3].number is a number"));
  EXPECT_THAT(refusal([&] { object.string("absent"); }), HasSubstr("items[3].absent is missing"));
  EXPECT_THAT(refusal([&] { object.integer("number", 4, 9); }), HasSubstr("is 3, not from 4 to 9"));
  EXPECT_THAT(refusal([&] { object.integer("big", 0, 9); }), HasSubstr("18446744073709551615"));
  EXPECT_THAT(refusal([&] { object.optional_boolean("text"); }), HasSubstr("not true or false"));
  EXPECT_THAT(refusal([&] {
                object.refuse_unknown({"text", "number", "big", "none"});
              }),
              HasSubstr("unsupported field \"items[3].flag\""));
  EXPECT_THAT(refusal([&] { JsonObject{value["text"], "x"}; }), HasSubstr("x is a string"));
}

TEST(JsonObject, AChoiceIsOneOfItsWords) {
  const auto value = nlohmann::json::parse(R"({"side": "left"})");
  const JsonObject object(value);
  EXPECT_EQ(object.choice<int>("absent", {{"a", 1}}, 7), 7);
  EXPECT_EQ(object.choice<int>("side", {{"left", 1}, {"right", 2}}, 7), 1);
  EXPECT_THAT(refusal([&] {
                object.choice<int>("side", {{"up", 1}, {"down", 2}}, 7);
              }),
              HasSubstr("side is not one of \"up\", \"down\""));
}

}  // namespace
}  // namespace bifocal::http
