#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::text {

// Bytes [begin, end) of the original UTF-8.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const Span&) const = default;
};

// A code point and the bytes that it comes from, which normalisation carries along.
struct Character {
  char32_t value = 0;
  Span source;
};

// The byte at which the first ill-formed sequence starts (Unicode 15.0, table 3-7: overlong forms,
// surrogates, values over U+10FFFF and truncated sequences are all ill-formed).
std::optional<std::size_t> find_invalid_utf8(std::string_view text) noexcept;

// Throws Error(kInvalidText), saying at which byte, where the text is not UTF-8.
void require_utf8(std::string_view text);

// `text` must be well-formed.
std::vector<Character> decode_utf8(std::string_view text);
void append_utf8(std::string& out, char32_t value);

}  // namespace bifocal::text
