#include "api_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "temporary_directory.h"

namespace bifocal::http {
namespace {

using bifocal::testing::TemporaryDirectory;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

class ApiKeysTest : public ::testing::Test {
 protected:
  ApiKeys read(const std::string& text, ::mode_t mode = 0600) {
    std::ofstream(file_) << text;
    ::chmod(file_.c_str(), mode);
    return ApiKeys::read(file_);
  }
  Error refusal(const std::string& text, ::mode_t mode = 0600) {
    try {
      read(text, mode);
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "accepted:\n" << text;
    return Error(ErrorCode::kInternal, "accepted");
  }
  TemporaryDirectory directory_;
  const std::filesystem::path file_ = directory_ / "keys";
};

TEST_F(ApiKeysTest, EachNewKeyIsFoundAndNoOther) {
  std::vector<NewKey> made;
  std::string text;
  for (int i = 0; i < 50; ++i) {
    made.push_back(make_key("client-" + std::to_string(i),
                            i % 7 == 0 ? KeyRole::kAdmin : KeyRole::kUse,
                            i % 3 == 0 ? std::optional<double>(i * 0.5) : std::nullopt));
    text += made.back().line + "\n";
  }
  const ApiKeys keys = read(text);
  EXPECT_EQ(keys.size(), 50U);
  for (int i = 0; i < 50; ++i) {
    const std::string secret = made[static_cast<std::size_t>(i)].secret;
    const auto found = keys.find(secret);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->name, "client-" + std::to_string(i));
    EXPECT_EQ(found->is_admin, i % 7 == 0);
    EXPECT_EQ(found->per_minute.has_value(), i % 3 == 0);
    EXPECT_EQ(found->per_minute.value_or(i * 0.5), i * 0.5);
    for (std::size_t at = 0; at < secret.size(); ++at) {
      std::string other = secret;
      other[at] = other[at] == 'A' ? 'B' : 'A';
      EXPECT_FALSE(keys.find(other)) << at;
    }
    EXPECT_FALSE(keys.find(secret + "A"));
    EXPECT_FALSE(keys.find(secret.substr(0, secret.size() - 1)));
  }
  EXPECT_FALSE(keys.find(""));
  EXPECT_FALSE(keys.find(make_key("client-0", KeyRole::kAdmin).secret));
  EXPECT_FALSE(keys.find(std::string(1 << 20, 'x')));
}

TEST_F(ApiKeysTest, NewKeysHaveTheirFormAndAreAllDifferent) {
  std::set<std::string> secrets;
  std::set<std::string> digests;
  for (int i = 0; i < 200; ++i) {
    const NewKey made = make_key("same", KeyRole::kUse);
    EXPECT_THAT(made.secret, MatchesRegex("bf_[A-Za-z0-9_-]{43}"));
    EXPECT_THAT(made.line, MatchesRegex("same use sha256:[0-9a-f]{32}:[0-9a-f]{64}"));
    EXPECT_THAT(made.line, Not(HasSubstr(made.secret.substr(3))));
    secrets.insert(made.secret);
    digests.insert(made.line);
  }
  EXPECT_EQ(secrets.size(), 200U);
  EXPECT_EQ(digests.size(), 200U);
}

// printf '%b' '\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17bf_AAAA...' | sha256sum
TEST_F(ApiKeysTest, FileFormStaysReadable) {
  const ApiKeys keys = read(
      "ci use sha256:000102030405060708090a0b0c0d0e0f:"
      "74f4e3f2af5bf1f11ff5195e780d5dfb796f8ee19284edcc16a7b374820e638c 120\n");
  const auto found = keys.find("bf_" + std::string(43, 'A'));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "ci");
  EXPECT_EQ(found->per_minute, 120);
}

// A password that somebody hashed by hand would be too weak for one pass of SHA-256.
TEST_F(ApiKeysTest, OnlyKeysOfOurFormAreAccepted) {
  // printf '%b' '\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17hunter2' | sha256sum
  const ApiKeys keys = read(
      "ci use sha256:000102030405060708090a0b0c0d0e0f:"
      "e8d1e18507861757b13674f2e9d0e9149ed6667f432ad5b8220f9c049a29dc54\n");
  EXPECT_FALSE(keys.find("hunter2"));
}

TEST_F(ApiKeysTest, CommentsBlanksAndLineEndsOfWindowsAreTaken) {
  const NewKey a = make_key("a", KeyRole::kUse);
  const NewKey b = make_key("b", KeyRole::kAdmin);
  const ApiKeys keys =
      read("# who may ask\r\n\r\n  \t" + a.line + "  # since March\r\n\n" + b.line + "\t7.5");
  EXPECT_EQ(keys.size(), 2U);
  EXPECT_EQ(keys.find(a.secret)->name, "a");
  EXPECT_EQ(keys.find(b.secret)->per_minute, 7.5);
}

TEST_F(ApiKeysTest, NoneMeansEmpty) {
  EXPECT_TRUE(ApiKeys().empty());
  EXPECT_FALSE(ApiKeys().find(make_key("a", KeyRole::kUse).secret));
}

TEST_F(ApiKeysTest, FileWithoutAKeyIsRefused) {
  for (const char* text : {"", "\n", "# a use sha256:0:0\n"})
    EXPECT_THAT(refusal(text).message(), HasSubstr("holds no key"));
}

TEST_F(ApiKeysTest, MalformedLinesAreNamedByNumberAndNeverShown) {
  const std::string salt(32, 'a');
  const std::string hash(64, 'b');
  const std::string good = " sha256:" + salt + ":" + hash;
  for (const std::string& line : std::vector<std::string>{
           "alice",
           "alice use",
           "alice use" + good + " 10 more",
           "alice root" + good,
           "alice Use" + good,
           "ali/ce use" + good,
           std::string(65, 'n') + " use" + good,
           "alice use sha512:" + salt + ":" + hash,
           "alice use sha256:" + salt + hash,
           "alice use sha256:" + salt + ":" + hash + "b",
           "alice use sha256:" + salt.substr(1) + ":" + hash,
           "alice use sha256:" + salt + ":" + std::string(64, 'g'),
           "alice use sha256:" + salt + ":" + std::string(64, 'B'),
           "alice use sha256:" + salt + ":",
           "alice use sha256:",
           "alice use" + good + " -1",
           "alice use" + good + " fast",
           "alice use" + good + " nan",
           "alice use" + good + " 1e10",
           "alice use" + good + " 10/min",
           make_key("alice", KeyRole::kUse).secret,
       }) {
    const Error error = refusal("# first\n" + make_key("bob", KeyRole::kUse).line + "\n" + line);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(error.message(),
                AllOf(HasSubstr("line 3: "), HasSubstr(file_.string()), Not(HasSubstr("aaaaaa")),
                      Not(HasSubstr("bbbbbb")), Not(HasSubstr("bf_"))))
        << line;
    EXPECT_EQ(error.detail(), "");
  }
}

TEST_F(ApiKeysTest, DuplicatesAreRefused) {
  const NewKey a = make_key("a", KeyRole::kUse);
  const NewKey again = make_key("a", KeyRole::kAdmin);
  EXPECT_THAT(refusal(a.line + "\n\n" + again.line).message(),
              HasSubstr("line 3: the same name as in line 1"));
  EXPECT_THAT(refusal(a.line + "\nb" + a.line.substr(1)).message(),
              HasSubstr("line 2: the same key as in line 1"));
}

TEST_F(ApiKeysTest, FileThatOthersMayWriteIsRefused) {
  const std::string line = make_key("a", KeyRole::kUse).line;
  for (const ::mode_t mode : {0620U, 0602U, 0666U}) {
    const Error error = refusal(line, mode);
    EXPECT_EQ(error.code(), ErrorCode::kForbidden);
    EXPECT_THAT(error.message(), HasSubstr("chmod go-w"));
  }
  for (const ::mode_t mode : {0600U, 0640U, 0644U, 0400U}) {
    std::filesystem::remove(file_);
    EXPECT_EQ(read(line, mode).size(), 1U);
  }
}

TEST_F(ApiKeysTest, WhatIsNotAFileIsRefusedAtOnce) {
  const auto code_of = [](const std::filesystem::path& path) {
    try {
      ApiKeys::read(path);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of(directory_ / "missing"), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(directory_.path()), ErrorCode::kIo);
  const auto pipe = directory_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(code_of(pipe), ErrorCode::kIo);
}

TEST_F(ApiKeysTest, NumberOfKeysAndSizeAreBounded) {
  std::string text;
  for (std::size_t i = 0; i <= ApiKeys::kMaxKeys; ++i)
    text += make_key("n" + std::to_string(i), KeyRole::kUse).line + "\n";
  EXPECT_THAT(refusal(text).message(), HasSubstr("line 1025: more than 1024 keys"));
  EXPECT_THAT(refusal(std::string((1 << 20) + 1, '#')).message(), HasSubstr("more than 1048576"));
}

TEST(MakeKey, RefusesNamesAndRatesThatTheFileCouldNotHold) {
  for (const char* name : {"", "two words", "a#b", "a\nb", "\u00e9"})
    EXPECT_THROW(make_key(name, KeyRole::kUse), Error) << name;
  EXPECT_THROW(make_key(std::string(65, 'n'), KeyRole::kUse), Error);
  EXPECT_THROW(make_key("a", KeyRole::kUse, -1), Error);
  EXPECT_THROW(make_key("a", KeyRole::kUse, 2e9), Error);
  EXPECT_NO_THROW(make_key("A.b_c-9", KeyRole::kAdmin, 0));
}

}  // namespace
}  // namespace bifocal::http
