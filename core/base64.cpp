#include "core/base64.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "bifocal/error.h"

namespace bifocal::core {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t kSkip = 64, kPadding = 65, kWrong = 66;

constexpr std::array<std::uint8_t, 256> kValues = [] {
  std::array<std::uint8_t, 256> values{};
  values.fill(kWrong);
  for (std::size_t i = 0; i < kAlphabet.size(); ++i)
    values[static_cast<unsigned char>(kAlphabet[i])] = static_cast<std::uint8_t>(i);
  values['-'] = values['+'];
  values['_'] = values['/'];
  for (const char space : {' ', '\t', '\r', '\n'})
    values[static_cast<unsigned char>(space)] = kSkip;
  values['='] = kPadding;
  return values;
}();

std::uint8_t value_of(char c) noexcept { return kValues[static_cast<unsigned char>(c)]; }

[[noreturn]] void refuse(std::size_t at, const char* what) {
  throw Error(ErrorCode::kInvalidArgument,
              "is not base64: character " + std::to_string(at + 1) + " " + what);
}

}  // namespace

std::string base64_encode(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k)
      group = group << 8 | (k < count ? std::to_integer<std::uint32_t>(bytes[i + k]) : 0);
    for (std::size_t k = 0; k < 4; ++k)
      text += k <= count ? kAlphabet[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

std::vector<std::byte> base64_decode(std::string_view text) {
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 4 * 3 + 3);
  std::uint32_t group = 0;
  std::size_t in_group = 0, padding = 0;
  const auto put = [&bytes](std::uint32_t value) {
    bytes.push_back(static_cast<std::byte>(value));
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    // Four good characters at a time: nearly all of any text.
    while (in_group == 0 && padding == 0 && i + 4 <= text.size()) {
      const std::uint8_t a = value_of(text[i]), b = value_of(text[i + 1]);
      const std::uint8_t c = value_of(text[i + 2]), d = value_of(text[i + 3]);
      if ((a | b | c | d) >= kSkip) break;
      const std::uint32_t whole = std::uint32_t{a} << 18 | std::uint32_t{b} << 12 |
                                  std::uint32_t{c} << 6 | std::uint32_t{d};
      put(whole >> 16 & 255);
      put(whole >> 8 & 255);
      put(whole & 255);
      i += 4;
    }
    if (i == text.size()) break;
    const std::uint8_t value = value_of(text[i]);
    if (value == kSkip) continue;
    if (value == kWrong) refuse(i, "is of no base64 alphabet");
    if (value == kPadding) {
      if (in_group + padding < 2 || ++padding + in_group > 4) refuse(i, "is padding out of place");
      continue;
    }
    if (padding > 0) refuse(i, "follows padding");
    group = group << 6 | value;
    if (++in_group < 4) continue;
    put(group >> 16 & 255);
    put(group >> 8 & 255);
    put(group & 255);
    group = 0;
    in_group = 0;
  }
  if (in_group == 1 || (padding > 0 && in_group + padding != 4))
    throw Error(ErrorCode::kInvalidArgument,
                "is not base64: it ends in the middle of a byte; it may have been cut");
  if (in_group == 2) put(group >> 4 & 255);
  if (in_group == 3) {
    put(group >> 10 & 255);
    put(group >> 2 & 255);
  }
  return bytes;
}

}  // namespace bifocal::core
