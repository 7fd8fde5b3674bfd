#include "text/sentencepiece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>
#include <string>

#include "bifocal/error.h"
#include "core/files.h"
#include "shared_data.h"

namespace bifocal::text {
namespace {

using ::bifocal::testing::shared_data;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// sentencepiece_model.proto, written by hand: what training would not give must be tried too.
std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>((value & 0x7F) | 0x80));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string field(std::uint64_t number, const std::string& bytes) {
  return varint(number << 3 | 2) + varint(bytes.size()) + bytes;
}

std::string field(std::uint64_t number, std::uint64_t value) {
  return varint(number << 3) + varint(value);
}

std::string word(std::uint32_t value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return bytes;
}

constexpr std::uint64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4;

std::string piece(const std::string& text, float score, std::uint64_t type = kNormal) {
  return field(1, field(1, text) + varint(2 << 3 | 5) + word(std::bit_cast<std::uint32_t>(score)) +
                      field(3, type));
}

const std::string kFirstThree =
    piece("<unk>", 0, kUnknown) + piece("<s>", 0, kControl) + piece("</s>", 0, kControl);
const std::string kPieces = kFirstThree + piece("\u2581", -3) + piece("\u2581a", -2) +
                            piece("a", -3) + piece("b", -3) + piece("ab", -4) + piece("\u00E9", -3);
const std::string kUnigram = field(2, field(3, std::uint64_t{1}));

std::unique_ptr<SentencePieceTokenizer> parse(const std::string& model,
                                              const SentencePieceOptions& options = {}) {
  return SentencePieceTokenizer::parse(model, "spiece.model", options);
}

std::string refusal_of(const std::string& model, const SentencePieceOptions& options = {}) {
  try {
    parse(model, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle);
    EXPECT_THAT(error.message(), HasSubstr("spiece.model"));
    return error.message();
  }
  return "no error";
}

// A double array of one chain of a's: a unit every block of 256, the n-th letter ending a rule
// where `ends` says so. Its rules all give the text at 0.
std::string chain(const std::vector<bool>& ends, std::size_t back_to = 0) {
  const std::size_t blocks = ends.size() + 2;
  std::vector<std::uint32_t> units(256 * blocks);
  for (std::size_t i = 0; i < units.size(); ++i)
    units[i] = static_cast<std::uint32_t>(~i & 0xFF);  // a label that no byte leads to
  const auto lead = [&units](std::size_t from, std::size_t to, bool has_rule, unsigned char label) {
    units[from] = static_cast<std::uint32_t>((from ^ to) << 10) | (has_rule ? 1u << 8 : 0u) | label;
  };
  lead(0, 256, false, 0);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const bool last = i + 1 == ends.size();
    const std::size_t to = last && back_to != 0 ? back_to : 256 * (i + 2);
    lead(256 * (i + 1) + 'a', to, ends[i], 'a');
    if (ends[i]) units[to] = 0x80000000u;  // the rule's replacement: at 0
  }
  std::string bytes;
  for (const std::uint32_t unit : units) bytes += word(unit);
  return bytes;
}

std::string charsmap(const std::string& trie, const std::string& rules) {
  return word(static_cast<std::uint32_t>(trie.size())) + trie + rules;
}

std::string with_charsmap(const std::string& map) {
  return kPieces + kUnigram + field(3, field(2, map));
}

const std::string kRule("b\0", 2);

TEST(SentencePiece, SplitsByScoreWithSpansInBytes) {
  const auto tokenizer = parse(kPieces + kUnigram);
  const Encoding encoding = tokenizer->encode("ab  \u00E9a");
  EXPECT_THAT(encoding.ids, ElementsAre(1, 4, 6, 3, 8, 5, 2));
  EXPECT_THAT(encoding.spans, ElementsAre(Span{}, Span{0, 1}, Span{1, 2}, Span{2, 4}, Span{4, 6},
                                          Span{6, 7}, Span{}));
  EXPECT_EQ(tokenizer->decode(encoding.ids, true), "ab \u00E9a");
  EXPECT_EQ(tokenizer->vocab_size(), 9);
}

TEST(SentencePiece, OwnBosAndEosStandAroundUnlessLeftOut) {
  const std::string model = kPieces + kUnigram;
  EXPECT_THAT(parse(model)->encode_pair("a", "a").ids, ElementsAre(1, 4, 2, 4, 2));
  EXPECT_THAT(parse(model, {.add_bos = false})->encode("a").ids, ElementsAre(4, 2));
  EXPECT_THAT(parse(model, {.add_eos = false})->encode("a").ids, ElementsAre(1, 4));
  const auto bare = parse(piece("<unk>", 0, kUnknown) + piece("a", -1) + kUnigram);
  EXPECT_THAT(bare->encode("aa", {}).ids, ElementsAre(0, 1, 1));
}

TEST(SentencePiece, XlmRobertaNumbersOneLaterAndMaskLast) {
  const auto tokenizer = parse(kPieces + kUnigram, {.ids = SentencePieceIds::kXlmRoberta});
  EXPECT_THAT(tokenizer->encode("ab z").ids, ElementsAre(0, 5, 7, 4, 3, 2));
  EXPECT_THAT(tokenizer->encode_pair("a", "a").ids, ElementsAre(0, 5, 2, 2, 5, 2));
  EXPECT_THAT(tokenizer->encode_pair("a", "a").type_ids, ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_EQ(tokenizer->vocab_size(), 11);
  EXPECT_EQ(tokenizer->pad_id(), 1);
  for (std::int64_t id = 0; id < tokenizer->vocab_size(); ++id)
    EXPECT_EQ(tokenizer->find(tokenizer->piece(id)), id);
  EXPECT_EQ(tokenizer->find("absent"), std::nullopt);
}

TEST(SentencePiece, XlmRobertaKnowsItsSpecialsInAText) {
  const auto tokenizer = parse(kPieces + kUnigram, {.ids = SentencePieceIds::kXlmRoberta});
  const Encoding encoding = tokenizer->encode("a  <mask>a</s>", {.add_special_tokens = false});
  EXPECT_THAT(encoding.ids, ElementsAre(5, 10, 5, 2));
  EXPECT_THAT(encoding.spans, ElementsAre(Span{0, 1}, Span{1, 9}, Span{9, 10}, Span{10, 14}));
  EXPECT_EQ(tokenizer->decode(encoding.ids, false), "a<mask> a</s>");
  EXPECT_EQ(tokenizer->decode(encoding.ids, true), "a a");
}

TEST(SentencePiece, XlmRobertaIdsNeedItsFirstThreePieces) {
  const std::string model = piece("<unk>", 0, kUnknown) + piece("a", -1) + piece("b", -1) +
                            piece("\u2581", -1) + kUnigram;
  EXPECT_THAT(refusal_of(model, {.ids = SentencePieceIds::kXlmRoberta}), HasSubstr("<unk>, <s>"));
}

TEST(SentencePiece, TextsMayBeEmptyOrHoldNulOrBeLong) {
  const auto tokenizer = parse(kPieces + kUnigram);
  EXPECT_THAT(tokenizer->encode("").ids, ElementsAre(1, 2));
  EXPECT_THAT(tokenizer->encode("  ").ids, ElementsAre(1, 2));
  EXPECT_THAT(tokenizer->encode(std::string_view("a\0b", 3)).ids, ElementsAre(1, 4, 0, 6, 2));
  const std::string longest(std::size_t{1} << 20, 'a');
  EXPECT_EQ(tokenizer->encode(longest).ids.size(), longest.size() + 2);
}

TEST(SentencePiece, RefusesPiecesThatTheLibraryWouldTakeOnTrust) {
  const auto refusal = [](const std::string& more) {
    return refusal_of(kPieces + more + kUnigram);
  };
  EXPECT_THAT(refusal_of(""), HasSubstr("no pieces"));
  EXPECT_THAT(refusal(piece("", -1)), HasSubstr("length"));
  EXPECT_THAT(refusal(piece(std::string(2000, 'x'), -1)), HasSubstr("length"));
  EXPECT_THAT(refusal(piece("\xC3", -1)), HasSubstr("no text"));
  EXPECT_THAT(refusal(piece(std::string("a\0", 2), -1)), HasSubstr("no text"));
  EXPECT_THAT(refusal(piece("c", std::bit_cast<float>(0x7FC00000u))), HasSubstr("finite"));
  EXPECT_THAT(refusal(piece("c", -1, 9)), HasSubstr("type"));
  EXPECT_THAT(refusal(piece("a", -1)), HasSubstr("refuses"));             // twice
  EXPECT_THAT(refusal(piece("<u>", 0, kUnknown)), HasSubstr("refuses"));  // two unknown ones
  EXPECT_THAT(refusal_of(kPieces + field(2, field(3, std::uint64_t{7}))), HasSubstr("model_type"));
}

TEST(SentencePiece, SixtyFourNestedSymbolsAreTheMost) {
  std::string model = kPieces;
  for (std::size_t i = 1; i <= 64; ++i) model += piece(std::string(i, 'x'), 0, kUserDefined);
  EXPECT_EQ(parse(model + kUnigram)->encode(std::string(200, 'x')).ids.size(), 7u);
  model += piece(std::string(65, 'x'), 0, kUserDefined);
  EXPECT_THAT(refusal_of(model + kUnigram), HasSubstr("64"));
}

TEST(SentencePiece, AppliesTheRulesOfItsCharsmap) {
  const auto tokenizer = parse(with_charsmap(charsmap(chain({false, true}), kRule)));
  EXPECT_THAT(tokenizer->encode("aaa").ids, ElementsAre(1, 3, 6, 5, 2));  // aa -> b
  EXPECT_EQ(tokenizer->encode("aaa").spans[2], (Span{0, 2}));
}

TEST(SentencePiece, RefusesCharsmapsThatLeadOutside) {
  const auto refusal = [](const std::string& map) { return refusal_of(with_charsmap(map)); };
  const std::string sound = chain({true});
  EXPECT_EQ(refusal(charsmap(chain(std::vector<bool>(32, true)), kRule)), "no error");
  EXPECT_THAT(refusal(charsmap(chain(std::vector<bool>(33, true)), kRule)), HasSubstr("32"));
  EXPECT_THAT(refusal(charsmap(chain({false, false}, 256), kRule)), HasSubstr("circle"));
  EXPECT_THAT(refusal(charsmap(chain({false}, 1 << 16), kRule)), HasSubstr("outside"));
  EXPECT_THAT(refusal(charsmap(sound.substr(0, sound.size() - 4), kRule)), HasSubstr("outside"));
  EXPECT_THAT(refusal(charsmap(sound, "b")), HasSubstr("no text"));
  EXPECT_THAT(refusal(charsmap(sound, std::string("\xC3\0", 2))), HasSubstr("no text"));
  EXPECT_THAT(refusal(charsmap(sound, "")), HasSubstr("size"));
  EXPECT_THAT(refusal(charsmap("", kRule)), HasSubstr("size"));
  EXPECT_THAT(refusal(word(0xFFFFFFFFu) + sound), HasSubstr("size"));
  EXPECT_THAT(refusal("abc"), HasSubstr("short"));
  std::string stray = sound;  // the replacement would start past its text
  stray.replace(4 * 512, 4, word(0x80000007u));
  EXPECT_THAT(refusal(charsmap(stray, kRule)), HasSubstr("replacement"));
}

// Whatever a file holds, it is refused or it works.
void survive(const std::string& model) {
  for (const auto ids : {SentencePieceIds::kPlain, SentencePieceIds::kXlmRoberta}) {
    try {
      const auto tokenizer = parse(model, {.ids = ids});
      const Encoding encoding = tokenizer->encode("ab aaaa \u00E9 <s>z\u2581");
      for (const std::int64_t id : encoding.ids) tokenizer->piece(id);
      tokenizer->decode(encoding.ids, false);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidBundle) << error.message();
    }
  }
}

TEST(SentencePiece, EveryTruncationIsRefusedOrWorks) {
  const std::string model = kPieces + kUnigram;
  for (std::size_t size = 0; size < model.size(); ++size) survive(model.substr(0, size));
}

TEST(SentencePiece, EveryChangedByteIsRefusedOrWorks) {
  const std::string pieces = kPieces + kUnigram;
  std::mt19937 random(5);
  for (std::size_t at = 0; at < pieces.size(); ++at)
    for (int n = 0; n < 8; ++n) {
      std::string changed = pieces;
      changed[at] = static_cast<char>(random());
      survive(changed);
    }
  const std::string map = charsmap(chain({true, false, true}), kRule);
  for (int n = 0; n < 2000; ++n) {
    std::string changed = map;
    for (int k = 0; k < 3; ++k) changed[random() % changed.size()] = static_cast<char>(random());
    survive(with_charsmap(changed));
  }
}

TEST(SentencePiece, ReadsPublishedModels) {
  const auto path = shared_data("tokenizers/sentencepiece/test_model.model");
  BIFOCAL_REQUIRE_DATA(path);
  const auto tokenizer = parse(core::read_text_file(path));
  EXPECT_EQ(tokenizer->vocab_size(), 1000);
  const Encoding encoding = tokenizer->encode("Hello world");
  EXPECT_EQ(tokenizer->decode(encoding.ids, true), "Hello world");
  EXPECT_EQ(encoding.spans[encoding.spans.size() - 2].end, 11u);
}

}  // namespace
}  // namespace bifocal::text
