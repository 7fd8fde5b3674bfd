#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <string>

#include "bifocal/error.h"
#include "core/files.h"
#include "temporary_directory.h"

namespace bifocal::text {
namespace {

using ::bifocal::testing::TemporaryDirectory;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kVocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n";
constexpr const char* kTokenizerJson =
    R"({"model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1}},
    "pre_tokenizer": {"type": "BertPreTokenizer"}})";
constexpr const char* kUnigramJson = R"({"model": {"type": "Unigram", "vocab": [["<unk>", 0.0]]}})";
// A ModelProto with <unk>, <s>, </s>, "_", "a".
const std::string kSentencePiece =
    "\x0A\x09\x0A\x05<unk>\x18\x02\x0A\x07\x0A\x03<s>\x18\x03\x0A\x08\x0A\x04</s>\x18\x03"
    "\x0A\x05\x0A\x03\u2581\x0A\x03\x0A\x01"
    "a";

class TokenizerTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& contents) const {
    core::write_file_atomically(directory_ / name, contents);
  }
  std::unique_ptr<Tokenizer> load() const { return load_tokenizer(directory_.path()); }
  Error refusal() const {
    try {
      load();
    } catch (const Error& error) {
      return error;
    }
    return Error(ErrorCode::kInternal, "no error");
  }
  TemporaryDirectory directory_;
};

std::string letters(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += i % 3 == 0 ? "a " : i % 3 == 1 ? "b " : "c ";
  return text;
}

TEST_F(TokenizerTest, TruncationKeepsTheStartAndCountsTheRest) {
  write("vocab.txt", kVocabulary);
  const auto tokenizer = load();
  for (std::size_t count : {0u, 1u, 5u, 9u})
    for (std::size_t room : {2u, 3u, 7u, 20u}) {
      const Encoding whole = tokenizer->encode(letters(count));
      const Encoding cut = tokenizer->encode(letters(count), {.max_tokens = room});
      EXPECT_EQ(cut.ids.size(), std::min(room, count + 2));
      EXPECT_EQ(cut.cut_tokens, static_cast<std::int64_t>(whole.ids.size() - cut.ids.size()));
      EXPECT_EQ(cut.ids.back(), 3);
      EXPECT_TRUE(std::equal(cut.ids.begin(), cut.ids.end() - 1, whole.ids.begin()));
    }
}

TEST_F(TokenizerTest, KeepingTheEndDropsFromTheStart) {
  write("vocab.txt", kVocabulary);
  const auto tokenizer = load();
  const Encoding cut = tokenizer->encode("a b c a b", {.max_tokens = 4, .keep_end = true});
  EXPECT_THAT(cut.ids, ElementsAre(2, 5, 6, 3));
  EXPECT_EQ(cut.cut_tokens, 3);
  EXPECT_EQ(cut.spans[1].begin, 6u);
}

TEST_F(TokenizerTest, IdsGiveWhatTheirTextGaveWithAndWithoutTheSpecials) {
  write("vocab.txt", kVocabulary);
  const auto tokenizer = load();
  for (const std::size_t count : {0u, 1u, 5u, 9u})
    for (const std::size_t room : {2u, 3u, 7u, 20u}) {
      const EncodeOptions options{.max_tokens = room};
      const Encoding expected = tokenizer->encode(letters(count), options);
      for (const bool with_specials : {true, false}) {
        const auto ids =
            tokenizer->encode(letters(count), {.add_special_tokens = with_specials}).ids;
        const Encoding encoding = tokenizer->encode_ids(ids, options);
        EXPECT_EQ(encoding.ids, expected.ids);
        EXPECT_EQ(encoding.special, expected.special);
        EXPECT_EQ(encoding.cut_tokens, expected.cut_tokens);
      }
    }
  EXPECT_THROW(tokenizer->encode_ids(std::vector<std::int64_t>{8}), Error);
  EXPECT_THROW(tokenizer->encode_ids(std::vector<std::int64_t>{-1}), Error);
}

TEST_F(TokenizerTest, PairsGiveFromTheLongerFirst) {
  write("vocab.txt", kVocabulary);
  const auto tokenizer = load();
  const auto kept = [&](std::size_t first, std::size_t second, std::size_t room) {
    const Encoding pair =
        tokenizer->encode_pair(letters(first), letters(second), {.max_tokens = room + 3});
    const auto of_second =
        std::accumulate(pair.type_ids.begin(), pair.type_ids.end(), std::int64_t{0}) - 1;
    const auto of_first = static_cast<std::int64_t>(pair.ids.size()) - 3 - of_second;
    EXPECT_EQ(pair.cut_tokens, static_cast<std::int64_t>(first + second) - of_first - of_second);
    return std::pair(of_first, of_second);
  };
  EXPECT_EQ(kept(3, 4, 0 + 7), std::pair(3L, 4L));
  EXPECT_EQ(kept(10, 2, 6), std::pair(4L, 2L));
  EXPECT_EQ(kept(2, 10, 6), std::pair(2L, 4L));
  EXPECT_EQ(kept(10, 10, 7), std::pair(3L, 4L));
  EXPECT_EQ(kept(10, 9, 7), std::pair(4L, 3L));
  EXPECT_EQ(kept(10, 10, 1), std::pair(0L, 1L));
}

TEST_F(TokenizerTest, SpansOfAPairAreEachInItsOwnText) {
  write("vocab.txt", kVocabulary);
  const Encoding pair = load()->encode_pair("a b", "  c");
  EXPECT_THAT(pair.spans, ElementsAre(Span{}, Span{0, 1}, Span{2, 3}, Span{}, Span{2, 3}, Span{}));
}

TEST_F(TokenizerTest, WindowsHoldEveryPieceOnceAndInOrder) {
  write("vocab.txt", kVocabulary);
  const auto tokenizer = load();
  for (std::size_t count = 0; count < 12; ++count)
    for (std::size_t room = 3; room < 9; ++room) {
      std::vector<std::int64_t> joined;
      const auto windows = tokenizer->encode_windows(letters(count), {.max_tokens = room});
      for (const Encoding& window : windows) {
        EXPECT_LE(window.ids.size(), room);
        EXPECT_EQ(window.cut_tokens, 0);
        joined.insert(joined.end(), window.ids.begin() + 1, window.ids.end() - 1);
      }
      EXPECT_EQ(joined, tokenizer->encode(letters(count), {.add_special_tokens = false}).ids);
      EXPECT_EQ(windows.size(), std::max<std::size_t>(1, (count + room - 3) / (room - 2)));
    }
  EXPECT_EQ(tokenizer->encode_windows(letters(50), {}).size(), 1u);
}

TEST_F(TokenizerTest, RefusesRoomForLessThanItsSpecials) {
  write("vocab.txt", kVocabulary);
  const auto tokenizer = load();
  const auto code_of = [](auto step) {
    try {
      step();
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of([&] { tokenizer->encode("a", {.max_tokens = 1}); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { tokenizer->encode_pair("a", "b", {.max_tokens = 2}); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { tokenizer->encode_windows("a", {.max_tokens = 2}); }),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(tokenizer->encode_windows("", {.max_tokens = 2}).size(), 1u);
  EXPECT_EQ(code_of([&] { tokenizer->encode("a\xFF"); }), ErrorCode::kInvalidText);
  EXPECT_EQ(code_of([&] { tokenizer->encode_pair("a", "\xED\xA0\x80"); }), ErrorCode::kInvalidText);
  EXPECT_EQ(code_of([&] { tokenizer->encode_windows("\xC0\x80", {.max_tokens = 9}); }),
            ErrorCode::kInvalidText);
}

TEST_F(TokenizerTest, NamesTheFilesItLookedFor) {
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  for (const char* name : {"tokenizer.json", "sentencepiece.bpe.model", "vocab.txt"})
    EXPECT_THAT(error.message(), HasSubstr(name));
}

TEST_F(TokenizerTest, TokenizerJsonDecidesBeforeVocabulary) {
  write("vocab.txt", kVocabulary);
  write("tokenizer.json", kTokenizerJson);
  EXPECT_THAT(load()->encode("a b").ids, ElementsAre(1, 0));
}

TEST_F(TokenizerTest, AUnigramJsonGivesWayToTheModelBesideIt) {
  write("tokenizer.json", kUnigramJson);
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_THAT(error.message(), HasSubstr("Unigram"));
  write("any.model", kSentencePiece);
  EXPECT_THAT(load()->encode("a").ids, ElementsAre(1, 3, 4, 2));
  write("other.model", kSentencePiece);
  EXPECT_EQ(refusal().code(), ErrorCode::kInvalidBundle);
  write("sentencepiece.bpe.model", kSentencePiece);
  EXPECT_EQ(load()->vocab_size(), 5);
}

TEST_F(TokenizerTest, XlmRobertaIsNamedByEitherConfig) {
  write("sentencepiece.bpe.model", kSentencePiece);
  write("config.json", R"({"model_type": "xlm-roberta"})");
  EXPECT_THAT(load()->encode("a").ids, ElementsAre(0, 4, 5, 2));
  write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer", "add_bos_token": false})");
  EXPECT_THAT(load()->encode("a").ids, ElementsAre(3, 4, 2));
  write("config.json", R"({"model_type": "bert"})");
  write("tokenizer_config.json", R"({"tokenizer_class": "XLMRobertaTokenizerFast"})");
  EXPECT_THAT(load()->encode("a").ids, ElementsAre(0, 4, 5, 2));
}

TEST_F(TokenizerTest, ClassesThatNumberOtherwiseAreRefused) {
  write("sentencepiece.bpe.model", kSentencePiece);
  write("tokenizer_config.json", R"({"tokenizer_class": "CamembertTokenizer"})");
  EXPECT_EQ(refusal().code(), ErrorCode::kUnsupported);
  std::filesystem::remove(directory_ / "sentencepiece.bpe.model");
  write("vocab.txt", kVocabulary);
  write("tokenizer_config.json", R"({"tokenizer_class": "BertJapaneseTokenizer"})");
  EXPECT_EQ(refusal().code(), ErrorCode::kUnsupported);
  write("tokenizer_config.json", R"({"tokenizer_class": "BertTokenizerFast"})");
  EXPECT_THAT(load()->encode("a").ids, ElementsAre(2, 5, 3));
}

TEST_F(TokenizerTest, SettingsThatAreNoSettingsAreNamed) {
  write("vocab.txt", kVocabulary);
  write("tokenizer_config.json", R"({"do_lower_case": "yes"})");
  const Error error = refusal();
  EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
  EXPECT_THAT(error.message(), HasSubstr("do_lower_case"));
}

}  // namespace
}  // namespace bifocal::text
