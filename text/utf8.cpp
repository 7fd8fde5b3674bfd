#include "text/utf8.h"

#include <unicode/utf8.h>

#include "bifocal/error.h"

namespace bifocal::text {

std::optional<std::size_t> find_invalid_utf8(std::string_view text) noexcept {
  const char* bytes = text.data();
  const std::size_t size = text.size();
  for (std::size_t i = 0; i < size;) {
    const std::size_t start = i;
    UChar32 value = 0;
// ICU's macro narrows an int on purpose.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
    U8_NEXT(bytes, i, size, value);
#pragma GCC diagnostic pop
    if (value < 0) return start;
  }
  return std::nullopt;
}

void require_utf8(std::string_view text) {
  if (const auto at = find_invalid_utf8(text))
    throw Error(ErrorCode::kInvalidText, "the text is not valid UTF-8 at byte " +
                                             std::to_string(*at) + "; convert it to UTF-8 first");
}

std::vector<Character> decode_utf8(std::string_view text) {
  std::vector<Character> characters;
  characters.reserve(text.size());
  const char* bytes = text.data();
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t begin = i;
    UChar32 value = 0;
    U8_NEXT_UNSAFE(bytes, i, value);
    characters.push_back({static_cast<char32_t>(value), {begin, i}});
  }
  return characters;
}

void append_utf8(std::string& out, char32_t value) {
  char bytes[U8_MAX_LENGTH];
  std::size_t size = 0;
  U8_APPEND_UNSAFE(bytes, size, static_cast<UChar32>(value));
  out.append(bytes, size);
}

}  // namespace bifocal::text
