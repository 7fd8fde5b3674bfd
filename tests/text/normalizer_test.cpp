#include "text/normalizer.h"

#include <gtest/gtest.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <random>
#include <string>
#include <string_view>

#include "bifocal/error.h"

namespace bifocal::text {
namespace {

constexpr BertNormalization kNothing{false, false, false, false};

std::string text_of(const std::vector<Character>& characters) {
  std::string text;
  for (const Character& c : characters) append_utf8(text, c.value);
  return text;
}

std::string normalized(const std::string& text, const BertNormalization& normalization = {}) {
  return text_of(normalize(decode_utf8(text), normalization));
}

bool is_mark(char32_t value) {
  return u_charType(static_cast<UChar32>(value)) == U_NON_SPACING_MARK;
}

// Bases and marks of Unicode 5, so that any ICU and the tables of Unicode 9 agree on them.
std::string random_text(std::mt19937& random, int length) {
  std::string text;
  while (length > 0) {
    const auto value = static_cast<UChar32>(random() % 0x3100);
    UVersionInfo age;
    u_charAge(value, age);
    if (age[0] == 0 || age[0] > 5) continue;
    append_utf8(text, static_cast<char32_t>(value));
    --length;
  }
  return text;
}

TEST(Utf8, RefusesAllThatIsIllFormedAndSaysWhere) {
  const std::pair<std::string, std::size_t> cases[] = {
      {"\x80", 0},                  // a continuation alone
      {"ab\xC0\xAF", 2},            // overlong /
      {"a\xE0\x80\xAF", 1},         // overlong in three
      {"\xF0\x80\x80\xAF", 0},      // overlong in four
      {"abc\xED\xA0\x80", 3},       // a surrogate
      {"\xF4\x90\x80\x80", 0},      // over U+10FFFF
      {"\xF5\x80\x80\x80", 0},      // no such lead
      {"\xE6\x9D\xB1\xE4\xBA", 3},  // cut short
      {"caf\xC3", 3},
      {std::string("\0\xFF", 2), 1},
  };
  for (const auto& [text, at] : cases) {
    EXPECT_EQ(find_invalid_utf8(text), at) << text;
    try {
      require_utf8(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidText);
      EXPECT_NE(error.message().find("byte " + std::to_string(at)), std::string::npos);
    }
  }
}

TEST(Utf8, TakesEveryCodePointAndGivesItBack) {
  for (char32_t value = 0; value < 0x110000; ++value) {
    if (value >= 0xD800 && value < 0xE000) continue;
    std::string text;
    append_utf8(text, value);
    ASSERT_EQ(find_invalid_utf8(text), std::nullopt) << std::hex << std::uint32_t{value};
    const std::vector<Character> decoded = decode_utf8(text);
    ASSERT_EQ(decoded.size(), 1u);
    ASSERT_EQ(decoded[0].value, value);
    ASSERT_EQ(decoded[0].source, (Span{0, text.size()}));
  }
}

TEST(Normalizer, StrippingIsIcusDecompositionWithoutItsMarks) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfd = icu::Normalizer2::getNFDInstance(status);
  ASSERT_TRUE(U_SUCCESS(status));
  BertNormalization strip = kNothing;
  strip.strip_accents = true;
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    const std::string text = random_text(random, 40);
    const icu::UnicodeString decomposed =
        nfd->normalize(icu::UnicodeString::fromUTF8(text), status);
    ASSERT_TRUE(U_SUCCESS(status));
    std::string expected;
    for (int at = 0; at < decomposed.length(); at = decomposed.moveIndex32(at, 1)) {
      const auto value = static_cast<char32_t>(decomposed.char32At(at));
      // Of another class when the tables of `tokenizers` were made.
      const bool was_mark = value == 0x1734, was_none = value == 0x1885 || value == 0x1886;
      if ((is_mark(value) && !was_none) || was_mark) continue;
      append_utf8(expected, value);
    }
    ASSERT_EQ(normalized(text, strip), expected) << text;
  }
}

TEST(Normalizer, SourcesAreInOrderAndInTheText) {
  std::mt19937 random(11);
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_text(random, 60);
    std::size_t last = 0;
    for (const Character& c : normalize(decode_utf8(text), {})) {
      EXPECT_LE(last, c.source.begin);
      EXPECT_LT(c.source.begin, c.source.end);
      EXPECT_LE(c.source.end, text.size());
      last = c.source.begin;
    }
  }
}

TEST(Normalizer, DoesNothingWhereNothingIsAsked) {
  std::mt19937 random(13);
  for (int i = 0; i < 200; ++i) {
    const std::string text = random_text(random, 60);
    EXPECT_EQ(normalized(text, kNothing), text);
  }
}

TEST(Normalizer, CleansSpacesOutIdeographsStripsAndLowers) {
  EXPECT_EQ(normalized(std::string("a\0b\x01\xEF\xBF\xBD\u200Bc\td\ne", 15)), "abc d e");
  EXPECT_EQ(normalized("ab東京c"), "ab 東  京 c");
  EXPECT_EQ(normalized("Ñandú Ångström ệ"), "nandu angstrom e");
  EXPECT_EQ(normalized("ΌΔΟΣ STRAßE"), "οδοσ straße");  // each letter alone: no final sigma
  EXPECT_EQ(normalized("한"), "\u1112\u1161\u11AB");
  BertNormalization lower = kNothing;
  lower.lowercase = true;
  EXPECT_EQ(normalized("İI", lower), "i\u0307i");
  EXPECT_EQ(normalized("\u1C89\uA7CB\U00010D50\U00016EB8", lower),
            "\u1C8A\u0264\U00010D70\U00016ED3");
}

TEST(Normalizer, ReordersEvenVeryManyMarks) {
  BertNormalization strip = kNothing;
  strip.strip_accents = true;
  // Spacing marks with a combining class: kept, so that their order shows.
  std::string text = "a", expected = "a";
  for (int i = 0; i < 50000; ++i) text += "\u302E\U0001D165";  // classes 224 and 216
  for (int i = 0; i < 50000; ++i) expected += "\U0001D165";
  for (int i = 0; i < 50000; ++i) expected += "\u302E";
  EXPECT_EQ(normalized(text, strip), expected);
}

TEST(Normalizer, KnowsWhatEndsAWord) {
  for (const char32_t c : std::u32string_view(U"!/:@[`{~$+<=>^|«»—。「」\u166D")) {
    EXPECT_TRUE(is_punctuation(c)) << std::uint32_t{c};
  }
  for (const char32_t c : std::u32string_view(U"aZ09é€±™東")) {
    EXPECT_FALSE(is_punctuation(c)) << std::uint32_t{c};
  }
  for (const char32_t c : std::u32string_view(U" \t\n\v\f\r\u0085\u00A0\u1680\u2028\u3000")) {
    EXPECT_TRUE(is_whitespace(c)) << std::uint32_t{c};
  }
  EXPECT_FALSE(is_whitespace(U'\u200B'));
}

}  // namespace
}  // namespace bifocal::text
