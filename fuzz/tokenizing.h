#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "bifocal/error.h"
#include "text/tokenizer.h"

namespace bifocal::fuzz {

// A document and a text, divided at the first 0xFF, which is in no UTF-8.
inline std::pair<std::string_view, std::string_view> divided(const std::uint8_t* data,
                                                             std::size_t size) {
  const std::string_view whole(reinterpret_cast<const char*>(data), size);
  const std::size_t at = whole.find('\xFF');
  if (at == std::string_view::npos) return {whole, "Hello, world: caf\xC3\xA9 \xE4\xB8\xAD."};
  return {whole.substr(0, at), whole.substr(at + 1)};
}

inline void check_encoding(const text::Tokenizer& tokenizer, const text::Encoding& encoding,
                           std::string_view text) {
  const std::size_t size = encoding.ids.size();
  if (encoding.type_ids.size() != size || encoding.spans.size() != size ||
      encoding.special.size() != size || encoding.cut_tokens < 0)
    std::abort();
  for (std::size_t i = 0; i < size; ++i) {
    if (encoding.spans[i].begin > encoding.spans[i].end || encoding.spans[i].end > text.size())
      std::abort();
    tokenizer.piece(encoding.ids[i]);
  }
}

// Equal lengths, spans within the text, ids that have pieces; windows lose nothing.
inline void check_tokenizer(const text::Tokenizer& tokenizer, std::string_view text) {
  const text::Encoding whole = tokenizer.encode(text);
  check_encoding(tokenizer, whole, text);
  tokenizer.decode(whole.ids, true);
  const text::Encoding cut = tokenizer.encode(text, {.max_tokens = 8});
  check_encoding(tokenizer, cut, text);
  if (cut.ids.size() > 8) std::abort();
  const text::Encoding bare = tokenizer.encode(text, {.add_special_tokens = false});
  std::size_t in_windows = 0;
  for (const text::Encoding& window : tokenizer.encode_windows(text, {.max_tokens = 8})) {
    check_encoding(tokenizer, window, text);
    in_windows +=
        static_cast<std::size_t>(std::count(window.special.begin(), window.special.end(), false));
  }
  if (in_windows != bare.ids.size()) std::abort();
  tokenizer.encode_pair(text, text.substr(0, 0), {.max_tokens = 8});
}

// Runs `step`; any Error but one of ours against ourselves is an answer.
template <class Step>
void answered(Step step) {
  try {
    step();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInternal) std::abort();
  }
}

}  // namespace bifocal::fuzz
