#include "core/json_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace bifocal::core {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

template <typename Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const bifocal::Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    return error.message();
  }
  return "no error";
}

TEST(JsonConfig, ReadsWhatIsThereAndDefaultsWhatIsNot) {
  const JsonConfig config = JsonConfig::parse(
      R"({"n": 3, "x": 0.5, "on": true, "s": "a", "v": [1, 2.5], "w": ["p"], "null": null,
          "o": {"n": 4}, "a": [{"n": 5}]})",
      "c.json");
  EXPECT_EQ(config.integer("n", 0, 10), 3);
  EXPECT_EQ(config.number("x"), 0.5);
  EXPECT_EQ(config.number("n"), 3.0);
  EXPECT_TRUE(config.boolean_or("on", false));
  EXPECT_EQ(config.string("s"), "a");
  EXPECT_EQ(config.numbers("v"), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(config.strings("w"), std::vector<std::string>{"p"});
  EXPECT_FALSE(config.has("null"));
  EXPECT_EQ(config.integer_or("null", 7, 0, 10), 7);
  EXPECT_EQ(config.child("o").integer("n", 0, 10), 4);
  EXPECT_EQ(config.children("a")[0].integer("n", 0, 10), 5);
}

TEST(JsonConfig, AWrongValueIsReportedWithItsFileItsKeyAndWhatWasExpected) {
  const JsonConfig config =
      JsonConfig::parse(R"({"n": "big", "m": 99, "huge": 18446744073709551615, "o": {"k": 1.5}})",
                        "text/config.json");
  EXPECT_THAT(message_of([&] { config.integer("n", 1, 9); }),
              AllOf(HasSubstr("text/config.json"), HasSubstr("n:"),
                    HasSubstr("a whole number from 1 to 9"), HasSubstr("\"big\"")));
  EXPECT_THAT(message_of([&] { config.integer("m", 1, 9); }), HasSubstr("99"));
  EXPECT_THAT(message_of([&] { config.integer("huge", INT64_MIN, INT64_MAX); }),
              HasSubstr("18446744073709551615"));
  EXPECT_THAT(message_of([&] { config.child("o").integer("k", 0, 9); }),
              HasSubstr("text/config.json: o: k"));
  EXPECT_THAT(message_of([&] { config.string("absent"); }), HasSubstr("is missing"));
}

TEST(JsonConfig, RefusesWhatIsNotAnObject) {
  for (const char* text : {"", "{", "[1]", "3", "{\"a\": \"\xff\"}", "{} {}"})
    EXPECT_THAT(message_of([&] { JsonConfig::parse(text, "c.json"); }), HasSubstr("c.json"))
        << text;
}

TEST(JsonConfig, DeepNestingIsRefusedNotRecursedInto) {
  const std::string deep = "{\"a\":" + std::string(1'000'000, '[');
  EXPECT_THAT(message_of([&] { JsonConfig::parse(deep, "c.json"); }), HasSubstr("c.json"));
  const std::string closed = "{\"a\":" + std::string(100, '[') + std::string(100, ']') + "}";
  EXPECT_THAT(message_of([&] { JsonConfig::parse(closed, "c.json"); }), HasSubstr("nested"));
}

}  // namespace
}  // namespace bifocal::core
