#include "text/normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "bifocal/error.h"

namespace bifocal::text {
namespace {

UChar32 icu(char32_t value) noexcept { return static_cast<UChar32>(value); }

// Unicode only ever adds characters, so an older version's classes are today's for the characters
// of that age, but for the few whose class was corrected since.
bool is_of_unicode(char32_t value, std::uint8_t version) noexcept {
  UVersionInfo age;
  u_charAge(icu(value), age);
  return age[0] < version || (age[0] == version && age[1] == 0);
}

bool has_category(char32_t value, std::uint32_t mask) noexcept {
  return (U_GET_GC_MASK(icu(value)) & mask) != 0;
}

bool is_dropped(char32_t value) noexcept {
  if (value == '\t' || value == '\n' || value == '\r') return false;
  if (value < 0x80) return value < 0x20 || value == 0x7F;
  if (value == 0xFFFD) return true;
  return has_category(value, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK) && is_of_unicode(value, 8);
}

bool is_nonspacing_mark(char32_t value) noexcept {
  if (value < 0x300) return false;
  switch (value) {
    case 0x1734:  // Mn until Unicode 14
      return true;
    case 0x1885:  // Lo until Unicode 9
    case 0x1886:
    case 0xA9BD:   // Mc until Unicode 11
    case 0x111C9:  // Po until Unicode 11
      return false;
    default:
      return has_category(value, U_GC_MN_MASK) && is_of_unicode(value, 8);
  }
}

// The blocks that BERT surrounds with spaces. The gap from 2B820 to 2B91F is a slip of the
// `tokenizers` library which every published fast tokenizer has.
bool is_cjk_ideograph(char32_t value) noexcept {
  constexpr std::array<std::array<char32_t, 2>, 7> kBlocks{{{0x3400, 0x4DBF},
                                                            {0x4E00, 0x9FFF},
                                                            {0xF900, 0xFAFF},
                                                            {0x20000, 0x2A6DF},
                                                            {0x2A700, 0x2B81F},
                                                            {0x2B920, 0x2CEAF},
                                                            {0x2F800, 0x2FA1F}}};
  return value >= 0x3400 && std::any_of(kBlocks.begin(), kBlocks.end(), [value](const auto& block) {
           return value >= block[0] && value <= block[1];
         });
}

// Capitals of Unicode 16 and 17: runs of `count` from `first`, each `distance` from its small
// letter.
struct NewCapitals {
  char32_t first;
  char32_t count;
  std::int32_t distance;
};
constexpr std::array<NewCapitals, 10> kNewCapitals{{{0x1C89, 1, 1},
                                                    {0xA7CB, 1, 0x264 - 0xA7CB},
                                                    {0xA7CC, 1, 1},
                                                    {0xA7CE, 1, 1},
                                                    {0xA7D2, 1, 1},
                                                    {0xA7D4, 1, 1},
                                                    {0xA7DA, 1, 1},
                                                    {0xA7DC, 1, 0x19B - 0xA7DC},
                                                    {0x10D50, 22, 0x20},
                                                    {0x16EA0, 25, 0x1B}}};

char32_t lower(char32_t value) noexcept {
  if (value < 0x80) return value >= 'A' && value <= 'Z' ? value + 0x20 : value;
  if (value >= kNewCapitals.front().first)
    for (const NewCapitals& run : kNewCapitals)
      if (value >= run.first && value - run.first < run.count)
        return static_cast<char32_t>(static_cast<std::int32_t>(value) + run.distance);
  return static_cast<char32_t>(u_tolower(icu(value)));
}

void clean(std::vector<Character>& text) {
  std::erase_if(text, [](const Character& c) { return is_dropped(c.value); });
  for (Character& c : text)
    if (is_whitespace(c.value)) c.value = U' ';
}

void surround_ideographs(std::vector<Character>& text) {
  const auto ideographs = static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](const Character& c) { return is_cjk_ideograph(c.value); }));
  if (ideographs == 0) return;
  std::vector<Character> spaced;
  spaced.reserve(text.size() + 2 * ideographs);
  for (const Character& c : text) {
    if (!is_cjk_ideograph(c.value)) {
      spaced.push_back(c);
      continue;
    }
    spaced.push_back({U' ', c.source});
    spaced.push_back(c);
    spaced.push_back({U' ', c.source});
  }
  text = std::move(spaced);
}

const icu::Normalizer2& nfd() {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* const instance = icu::Normalizer2::getNFDInstance(status);
  if (U_FAILURE(status))
    throw Error(ErrorCode::kInternal, "ICU has no data for NFD; install libicu again",
                u_errorName(status));
  return *instance;
}

struct Decomposed {
  char32_t value;
  std::uint8_t combining_class;
  bool first;  // of the characters that one character decomposes to
};

std::vector<Decomposed> decompose(std::span<const Character> text) {
  static const icu::Normalizer2& form = nfd();
  const auto with_class = [](char32_t value, bool first) {
    const bool marked = value >= 0x300 && is_of_unicode(value, 9);
    return Decomposed{value, marked ? form.getCombiningClass(icu(value)) : std::uint8_t{0}, first};
  };
  std::vector<Decomposed> decomposed;
  decomposed.reserve(text.size() + text.size() / 8);
  icu::UnicodeString parts;
  for (const Character& c : text) {
    const bool whole =
        c.value < 0xC0 || !form.getDecomposition(icu(c.value), parts) || !is_of_unicode(c.value, 9);
    if (whole) {
      decomposed.push_back(with_class(c.value, true));
      continue;
    }
    for (std::int32_t i = 0; i < parts.length(); i = parts.moveIndex32(i, 1))
      decomposed.push_back(with_class(static_cast<char32_t>(parts.char32At(i)), i == 0));
  }
  return decomposed;
}

// Normalizer2 says nothing of where its output comes from, so its tables are applied here a
// character at a time. Sources go by place, not by which mark moved where: what replaces the n-th
// character has the n-th source.
void to_nfd(std::vector<Character>& text) {
  if (std::all_of(text.begin(), text.end(), [](const Character& c) { return c.value < 0xC0; }))
    return;
  std::vector<Decomposed> decomposed = decompose(text);
  const auto is_starter = [](const Decomposed& d) { return d.combining_class == 0; };
  for (auto run = decomposed.begin(); run != decomposed.end();) {
    const auto begin = std::find_if_not(run, decomposed.end(), is_starter);
    run = std::find_if(begin, decomposed.end(), is_starter);
    std::stable_sort(begin, run, [](const Decomposed& a, const Decomposed& b) {
      return a.combining_class < b.combining_class;
    });
  }
  std::vector<Character> normalized;
  normalized.reserve(decomposed.size());
  std::size_t consumed = 0;
  for (const Decomposed& d : decomposed) {
    if (d.first) ++consumed;
    normalized.push_back({d.value, consumed == 0 ? Span{} : text[consumed - 1].source});
  }
  text = std::move(normalized);
}

void to_lower(std::vector<Character>& text) {
  constexpr char32_t kCapitalIWithDot = 0x130, kCombiningDot = 0x307;
  for (Character& c : text)
    if (c.value != kCapitalIWithDot) c.value = lower(c.value);
  const auto has_dot = [](const Character& c) { return c.value == kCapitalIWithDot; };
  if (std::none_of(text.begin(), text.end(), has_dot)) return;
  // The one code point whose lower case is two.
  std::vector<Character> lowered;
  lowered.reserve(text.size() + 1);
  for (const Character& c : text) {
    lowered.push_back(has_dot(c) ? Character{U'i', c.source} : c);
    if (has_dot(c)) lowered.push_back({kCombiningDot, c.source});
  }
  text = std::move(lowered);
}

}  // namespace

std::vector<Character> normalize(std::span<const Character> text,
                                 const BertNormalization& normalization) {
  std::vector<Character> characters(text.begin(), text.end());
  if (normalization.clean_text) clean(characters);
  if (normalization.handle_chinese_chars) surround_ideographs(characters);
  if (normalization.strip_accents) {
    to_nfd(characters);
    std::erase_if(characters, [](const Character& c) { return is_nonspacing_mark(c.value); });
  }
  if (normalization.lowercase) to_lower(characters);
  return characters;
}

bool is_whitespace(char32_t value) noexcept {
  if (value < 0x80) return value == U' ' || (value >= 0x09 && value <= 0x0D);
  return u_isUWhiteSpace(icu(value)) != 0;
}

bool is_punctuation(char32_t value) noexcept {
  if (value < 0x80)
    return (value > 0x20 && value < '0') || (value > '9' && value < 'A') ||
           (value > 'Z' && value < 'a') || (value > 'z' && value < 0x7F);
  if (value == 0x166D || value == 0x111C9) return true;  // Po until Unicode 12 and 11
  return has_category(value, U_GC_P_MASK) && is_of_unicode(value, 8);
}

bool is_word_character(char32_t value) noexcept {
  return u_hasBinaryProperty(icu(value), UCHAR_ALPHABETIC) != 0 ||
         u_hasBinaryProperty(icu(value), UCHAR_JOIN_CONTROL) != 0 ||
         has_category(value, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK);
}

}  // namespace bifocal::text
