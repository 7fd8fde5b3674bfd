#include "text/wordpiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "bifocal/error.h"

namespace bifocal::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kVocabulary =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nwant\n##want\n##ed\nwa\nun\nrunn\n##ing\n,\nlow\nlowest\n"
    "a\n##a\nb\n##b\n[\n]\nmask\n東\n";

core::JsonConfig settings(const std::string& json = "{}") {
  return core::JsonConfig::parse(json, "tokenizer_config.json");
}

WordPieceTokenizer bert(const std::string& json = "{}") {
  return WordPieceTokenizer(
      WordPieceConfig::from_vocabulary(kVocabulary, "vocab.txt", settings(json)));
}

std::vector<std::string> pieces(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> found;
  for (const std::int64_t id : tokenizer.encode(text, {.add_special_tokens = false}).ids)
    found.push_back(tokenizer.piece(id));
  return found;
}

template <typename Step>
Error refusal_of(Step step) {
  try {
    step();
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorCode::kInternal, "no error");
}

TEST(WordPiece, TakesTheLongestPieceFirst) {
  EXPECT_THAT(pieces(bert(), "UNwantéd,running"),
              ElementsAre("un", "##want", "##ed", ",", "runn", "##ing"));
  EXPECT_THAT(pieces(bert(), "lowest lowa"), ElementsAre("lowest", "low", "##a"));
}

TEST(WordPiece, AWordWithOneUnknownEndIsUnknownWhole) {
  EXPECT_THAT(pieces(bert(), "unwantedX running"), ElementsAre("[UNK]", "runn", "##ing"));
}

TEST(WordPiece, WordsOfOver100CharactersAreUnknown) {
  EXPECT_EQ(pieces(bert(), std::string(100, 'a')).size(), 100u);
  EXPECT_THAT(pieces(bert(), std::string(101, 'a')), ElementsAre("[UNK]"));
}

TEST(WordPiece, SpansCoverTheWordsBytes) {
  const Encoding encoding = bert().encode("UNwant\u00E9d \u6771a");
  EXPECT_THAT(encoding.ids, ElementsAre(2, 9, 6, 7, 22, 15, 3));
  EXPECT_THAT(encoding.spans, ElementsAre(Span{}, Span{0, 2}, Span{2, 6}, Span{6, 9}, Span{10, 13},
                                          Span{13, 14}, Span{}));
  EXPECT_THAT(encoding.special, ElementsAre(true, false, false, false, false, false, true));
}

TEST(WordPiece, CasedKeepsCaseAndAccents) {
  const auto cased = bert(R"({"do_lower_case": false})");
  EXPECT_THAT(pieces(cased, "UN un"), ElementsAre("[UNK]", "un"));
  EXPECT_THAT(pieces(cased, "wanté"), ElementsAre("[UNK]"));
  EXPECT_THAT(pieces(bert(R"({"strip_accents": false})"), "UN wanté"), ElementsAre("un", "[UNK]"));
}

TEST(WordPiece, SpecialsWrittenInATextAreThose) {
  const Encoding encoding = bert().encode("a[MASK]b", {.add_special_tokens = false});
  EXPECT_THAT(encoding.ids, ElementsAre(15, 4, 17));
  EXPECT_EQ(encoding.spans[1], (Span{1, 7}));
  EXPECT_FALSE(encoding.special[1]);  // the text's own
  EXPECT_THAT(pieces(bert(), "[mask]"), ElementsAre("[", "mask", "]"));
}

TEST(WordPiece, AddedTokensTakeSpaceAlongAndStandApartAsAsked) {
  const auto tokenizer = bert(R"({"added_tokens_decoder": {
      "30": {"content": "<x>", "lstrip": true, "rstrip": true, "special": true},
      "31": {"content": "Want", "normalized": true, "single_word": true}}})");
  const Encoding encoding = tokenizer.encode("a <x>  b", {.add_special_tokens = false});
  EXPECT_THAT(encoding.ids, ElementsAre(15, 30, 17));
  EXPECT_EQ(encoding.spans[1], (Span{1, 7}));
  EXPECT_THAT(tokenizer.encode("WANT unwant", {.add_special_tokens = false}).ids,
              ElementsAre(31, 9, 6));
  EXPECT_EQ(tokenizer.vocab_size(), 32);
  EXPECT_EQ(tokenizer.decode(std::vector<std::int64_t>{15, 30, 31}, true), "a Want");
}

TEST(WordPiece, NulBytesAndEmptyTextsAreText) {
  EXPECT_THAT(bert().encode("").ids, ElementsAre(2, 3));
  EXPECT_THAT(bert().encode(" \n\u200B").ids, ElementsAre(2, 3));
  const Encoding encoding = bert().encode(std::string_view("a\0b", 3));
  EXPECT_THAT(encoding.ids, ElementsAre(2, 15, 18, 3));
  EXPECT_EQ(encoding.spans[2], (Span{2, 3}));
}

TEST(WordPiece, SpansOfAnyTextAreInOrderAndHoldTheirPieces) {
  const auto tokenizer = bert();
  std::mt19937 random(3);
  const std::vector<std::string> parts{"a", "b",  "want", "É",      " ",      "\n",     ",",
                                       "[", "東", "ed",   "\u0301", "\u200B", "\u3000", "😀"};
  for (int i = 0; i < 2000; ++i) {
    std::string text;
    for (int n = 0; n < 30; ++n) text += parts[random() % parts.size()];
    const Encoding encoding = tokenizer.encode(text, {.add_special_tokens = false});
    std::size_t last = 0;
    for (std::size_t k = 0; k < encoding.ids.size(); ++k) {
      const Span span = encoding.spans[k];
      ASSERT_LE(last, span.begin);
      ASSERT_LT(span.begin, span.end);
      ASSERT_LE(span.end, text.size());
      ASSERT_EQ(find_invalid_utf8(std::string_view(text).substr(span.begin, span.end - span.begin)),
                std::nullopt);
      last = span.end;
    }
  }
}

TEST(WordPiece, MegabytesOfAnythingAreSplit) {
  const auto tokenizer = bert();
  const std::size_t size = std::size_t{1} << 20;
  EXPECT_THAT(pieces(tokenizer, std::string(size, 'a')), ElementsAre("[UNK]"));
  EXPECT_EQ(pieces(tokenizer, std::string(size, ',')).size(), size);
  EXPECT_EQ(pieces(tokenizer, std::string(size, '[')).size(), size);
  std::string marks = "a";
  for (std::size_t i = 0; i < size / 4; ++i) marks += i % 2 == 0 ? "\u0301" : "\u0323";
  EXPECT_THAT(pieces(tokenizer, marks), ElementsAre("a"));
}

TEST(WordPiece, AVeryLongWordLimitDoesNotMakeItQuadratic) {
  const WordPieceTokenizer tokenizer(WordPieceConfig::from_tokenizer_json(settings(R"({
    "model": {"type": "WordPiece", "max_input_chars_per_word": 100000000,
              "vocab": {"[UNK]": 0, "a": 1, "##a": 2}},
    "pre_tokenizer": {"type": "BertPreTokenizer"}})")));
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, 'a')).ids.size(), std::size_t{1} << 20);
}

TEST(WordPiece, DecodingJoinsPiecesAndCleansUp) {
  const auto tokenizer = bert();
  const auto ids = tokenizer.encode("unwanted, running").ids;
  EXPECT_EQ(tokenizer.decode(ids, true), "unwanted, running");
  EXPECT_EQ(tokenizer.decode(ids, false), "[CLS] unwanted, running [SEP]");
  EXPECT_EQ(refusal_of([&] { tokenizer.decode(std::vector<std::int64_t>{99}, true); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST(WordPiece, FindsWhatItNames) {
  const auto tokenizer = bert();
  for (std::int64_t id = 0; id < tokenizer.vocab_size(); ++id)
    EXPECT_EQ(tokenizer.find(tokenizer.piece(id)), id);
  EXPECT_EQ(tokenizer.find("absent"), std::nullopt);
  EXPECT_EQ(refusal_of([&] { tokenizer.piece(-1); }).code(), ErrorCode::kInvalidArgument);
}

TEST(WordPieceConfig, NamesWhatAVocabularyLacks) {
  const auto refusal = [](const std::string& lines, const std::string& json = "{}") {
    const Error error =
        refusal_of([&] { WordPieceConfig::from_vocabulary(lines, "vocab.txt", settings(json)); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle) << error.message();
    return error.message();
  };
  EXPECT_THAT(refusal(""), HasSubstr("[UNK]"));
  EXPECT_THAT(refusal("[UNK]\n[CLS]\n"), HasSubstr("[SEP]"));
  EXPECT_THAT(refusal("[UNK]\na\na\n"), HasSubstr("line 3"));
  EXPECT_THAT(refusal("[UNK]\n\xFF\n"), HasSubstr("byte 6"));
  EXPECT_THAT(refusal(kVocabulary, R"({"cls_token": "<s>"})"), HasSubstr("<s>"));
  EXPECT_THAT(refusal(kVocabulary, R"({"additional_special_tokens": ["<x>"]})"), HasSubstr("<x>"));
}

TEST(WordPieceConfig, ReadsLinesOfAnyEnding) {
  const auto config =
      WordPieceConfig::from_vocabulary("[UNK]\r\n[CLS]\r\n[SEP]\r\n\r\na", "v", settings());
  EXPECT_EQ(config.vocabulary.at("[SEP]"), 2);
  EXPECT_EQ(config.vocabulary.at("a"), 4);
  EXPECT_EQ(config.vocabulary.size(), 4u);
}

TEST(WordPieceConfig, SaysWhichPartOfATokenizerJsonIsNotRead) {
  const auto refusal = [](const std::string& parts) {
    const std::string json = R"({"pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "vocab": {"[UNK]": 0}},)" +
                             parts + "}";
    return refusal_of([&] { WordPieceConfig::from_tokenizer_json(settings(json)); });
  };
  const std::pair<const char*, const char*> unread[] = {
      {R"("model": {"type": "Unigram", "vocab": []})", "Unigram"},
      {R"("model": {"type": "BPE", "vocab": {}})", "BPE"},
      {R"("normalizer": {"type": "Sequence"})", "Sequence"},
      {R"("pre_tokenizer": {"type": "Whitespace"})", "Whitespace"},
      {R"("post_processor": {"type": "RobertaProcessing"})", "RobertaProcessing"},
      {R"("decoder": {"type": "Metaspace"})", "Metaspace"}};
  for (const auto& [part, name] : unread) {
    const Error error = refusal(part);
    EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << part;
    EXPECT_THAT(error.message(), HasSubstr(name));
  }
  const char* wrong[] = {
      R"("model": {"type": "WordPiece", "vocab": {"a": -1}})",
      R"("model": {"type": "WordPiece", "vocab": {"a": 0, "b": 0}})",
      R"("model": {"type": "WordPiece", "vocab": []})",
      R"("added_tokens": [{"content": "", "id": 1}])",
      R"("post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 9], "cls": ["[CLS]", 8]})",
      R"("post_processor": {"type": "BertProcessing", "sep": "[SEP]", "cls": "[CLS]"})"};
  for (const char* part : wrong) EXPECT_EQ(refusal(part).code(), ErrorCode::kInvalidBundle) << part;
}

TEST(WordPieceConfig, ReadsBothPostProcessorsAlike) {
  const std::string head = R"({"pre_tokenizer": {"type": "BertPreTokenizer"},
      "model": {"type": "WordPiece", "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3}},
      "post_processor": )";
  const std::string bert_processing =
      R"({"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}})";
  const std::string template_processing = R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
      "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                         "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}}})";
  for (const std::string& part : {bert_processing, template_processing}) {
    const WordPieceTokenizer tokenizer(WordPieceConfig::from_tokenizer_json(settings(head + part)));
    const Encoding encoding = tokenizer.encode_pair("a", "a a");
    EXPECT_THAT(encoding.ids, ElementsAre(1, 3, 2, 3, 3, 2));
    EXPECT_THAT(encoding.type_ids, ElementsAre(0, 0, 0, 1, 1, 1));
  }
}

}  // namespace
}  // namespace bifocal::text
