#include "core/base64.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <span>
#include <string>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::core {
namespace {

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST(Base64, WhatIsEncodedDecodesToItself) {
  std::mt19937 random(1);
  for (std::size_t size = 0; size < 200; ++size) {
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    std::string text = base64_encode(bytes);
    EXPECT_EQ(text.size(), (size + 2) / 3 * 4);
    EXPECT_EQ(base64_decode(text), bytes);
    while (text.ends_with('=')) text.pop_back();
    EXPECT_EQ(base64_decode(text), bytes) << "without padding";
    std::string url_safe = text, spaced;
    for (char& c : url_safe) c = c == '+' ? '-' : c == '/' ? '_' : c;
    EXPECT_EQ(base64_decode(url_safe), bytes);
    for (const char c : text) spaced += std::string(1, c) + (random() % 3 == 0 ? "\r\n" : "");
    EXPECT_EQ(base64_decode(spaced), bytes);
  }
}

// The examples of RFC 4648, section 10.
TEST(Base64, GivesTheExamplesOfTheStandard) {
  const std::pair<const char*, const char*> examples[] = {{"", ""},
                                                          {"f", "Zg=="},
                                                          {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},
                                                          {"foob", "Zm9vYg=="},
                                                          {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : examples) {
    EXPECT_EQ(base64_encode(bytes_of(plain)), encoded);
    EXPECT_EQ(base64_decode(encoded), bytes_of(plain));
  }
}

TEST(Base64, RefusesWhatIsNone) {
  for (const char* text : {"A", "AAAAA", "A===", "=", "AA=", "AAA==", "AAAA=", "AA=A", "AA==AAAA",
                           "AAA!", "AAAA\x80", "AA\xc3\xa9"})
    EXPECT_THROW(base64_decode(text), Error) << text;
  try {
    base64_decode("AAAAAA?A");
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.message(), ::testing::HasSubstr("character 7"));
  }
}

}  // namespace
}  // namespace bifocal::core
