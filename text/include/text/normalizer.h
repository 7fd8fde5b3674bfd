#pragma once

#include <span>
#include <vector>

#include "text/utf8.h"

namespace bifocal::text {

// What is done to a text before WordPiece, in the order of the members (Devlin et al. 2019).
struct BertNormalization {
  bool clean_text = true;  // drops NUL, U+FFFD and control characters; white space becomes a space
  bool handle_chinese_chars = true;  // a space on either side of every CJK ideograph
  bool strip_accents = true;         // NFD, then without nonspacing marks
  bool lowercase = true;             // each code point alone: no final sigma, no locale
};

// As the BertNormalizer of Hugging Face's `tokenizers`, whose character classes are those of
// Unicode 8, whose NFD is that of Unicode 9 and whose lower case is that of Unicode 17, whatever
// Unicode the ICU at hand knows.
// Every character of the result has the source of the one that it replaces, as there.
std::vector<Character> normalize(std::span<const Character> text,
                                 const BertNormalization& normalization);

bool is_whitespace(char32_t value) noexcept;      // Unicode White_Space
bool is_punctuation(char32_t value) noexcept;     // Unicode P*, and all ASCII symbols
bool is_word_character(char32_t value) noexcept;  // \w of Unicode TS 18, annex C

}  // namespace bifocal::text
