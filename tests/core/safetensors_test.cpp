#include "core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "bifocal/error.h"
#include "core/files.h"
#include "temporary_directory.h"

namespace bifocal::core {
namespace {

using ::bifocal::testing::TemporaryDirectory;
using ::testing::HasSubstr;

std::string document(const std::string& header, const std::string& data) {
  const std::uint64_t size = header.size();
  std::string bytes(reinterpret_cast<const char*>(&size), 8);
  return bytes + header + data;
}

std::string refusal_of(const std::string& bytes) {
  try {
    Safetensors::parse(as_bytes(bytes), "w.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    return error.message();
  }
  return "no error";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                std::size_t data = 8) {
  return document(R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" +
                      offsets + "}}",
                  std::string(data, 'x'));
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const TemporaryDirectory directory;
  const std::vector<float> numbers{1, -2, 3.5f, 4, 5, 6};
  const std::vector<std::uint16_t> halves{0x3f80};
  const std::map<std::string, TensorView, std::less<>> tensors{
      {"b", {DType::kF32, {2, 3}, std::as_bytes(std::span(numbers))}},
      {"a", {DType::kBF16, {}, std::as_bytes(std::span(halves))}},
      {"empty", {DType::kI64, {0, 4}, {}}}};
  write_safetensors(directory / "w", tensors, {{"licence", "Apache-2.0"}});

  const Safetensors file = Safetensors::open(directory / "w");
  EXPECT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.metadata().at("licence"), "Apache-2.0");
  for (const auto& [name, view] : tensors) {
    EXPECT_EQ(file.at(name).dtype, view.dtype);
    EXPECT_EQ(file.at(name).shape, view.shape);
    EXPECT_TRUE(std::ranges::equal(file.at(name).data, view.data));
  }
}

TEST(Safetensors, ACopyKeepsTheFileMapped) {
  const TemporaryDirectory directory;
  const std::vector<float> numbers{42};
  write_safetensors(directory / "w",
                    {{"t", {DType::kF32, {1}, std::as_bytes(std::span(numbers))}}});
  const Safetensors copy = [&] { return Safetensors(Safetensors::open(directory / "w")); }();
  float value = 0;
  std::memcpy(&value, copy.at("t").data.data(), sizeof value);
  EXPECT_EQ(value, 42);
}

TEST(Safetensors, ALieIsRefusedAndNamed) {
  EXPECT_EQ(refusal_of(one("F32", "[2]", "[0,8]")), "no error");
  EXPECT_THAT(refusal_of(one("F33", "[2]", "[0,8]")), HasSubstr("w.safetensors: t: dtype"));
  EXPECT_THAT(refusal_of(one("F32", "[3]", "[0,8]")), HasSubstr("t: shape"));
  EXPECT_THAT(refusal_of(one("F32", "[-2]", "[0,8]")), HasSubstr("t: shape"));
  EXPECT_THAT(refusal_of(one("F32", "[4611686018427387906]", "[0,8]")), HasSubstr("t: shape"));
  EXPECT_THAT(refusal_of(one("F32", "[2]", "[0,9]")), HasSubstr("truncated"));
  EXPECT_THAT(refusal_of(one("F32", "[2]", "[8,0]")), HasSubstr("data_offsets"));
  EXPECT_THAT(refusal_of(one("F32", "[1]", "[0,4]")), HasSubstr("belong to no tensor"));
  EXPECT_THAT(refusal_of(one("F32", "[1]", "[4,8]")), HasSubstr("gap"));
  EXPECT_THAT(refusal_of(""), HasSubstr("too short"));
  EXPECT_THAT(refusal_of("not a safetensors file at all"), HasSubstr("w.safetensors"));
  EXPECT_THAT(refusal_of(document("[]", "")), HasSubstr("object"));
  EXPECT_THAT(refusal_of(document(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                                  R"("b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
                                  "123456")),
              HasSubstr("overlap"));
}

// Any prefix, and any single changed byte, is either refused or still self-consistent.
TEST(Safetensors, DamageNeverShowsATensorOutsideOfTheBytes) {
  const std::string whole = one("F32", "[2]", "[0,8]");
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_NE(refusal_of(whole.substr(0, size)), "no error") << size;
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = whole;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    try {
      const Safetensors file = Safetensors::parse(as_bytes(damaged), "damaged");
      for (const auto& [name, view] : file.tensors()) {
        ASSERT_GE(reinterpret_cast<const char*>(view.data.data()), damaged.data());
        ASSERT_LE(reinterpret_cast<const char*>(view.data.data() + view.data.size()),
                  damaged.data() + damaged.size());
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    }
  }
}

}  // namespace
}  // namespace bifocal::core
