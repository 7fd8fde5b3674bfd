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

// The same values where the first, second, third and fourth character of a group have them: a group
// is four look-ups. kNoValue marks what is no letter of the alphabet.
constexpr std::uint32_t kNoValue = 1U << 24;
constexpr auto kInPlace = [] {
  std::array<std::array<std::uint32_t, 256>, 4> values{};
  for (std::size_t place = 0; place < 4; ++place)
    for (std::size_t c = 0; c < 256; ++c)
      values[place][c] =
          kValues[c] < kSkip ? std::uint32_t{kValues[c]} << (18 - 6 * place) : kNoValue;
  return values;
}();

std::uint32_t group_of(const char* text) noexcept {
  std::uint32_t group = 0;
  for (std::size_t place = 0; place < 4; ++place)
    group |= kInPlace[place][static_cast<unsigned char>(text[place])];
  return group;
}

[[noreturn]] void refuse(std::size_t at, const char* what) {
  throw Error(ErrorCode::kInvalidArgument,
              "is not base64: character " + std::to_string(at + 1) + " " + what);
}

}  // namespace

std::string base64_encode(std::span<const std::byte> bytes) {
  std::string text((bytes.size() + 2) / 3 * 4, '=');
  char* out = text.data();
  std::size_t i = 0;
  const auto put = [&out](std::uint32_t group, std::size_t characters) {
    for (std::size_t k = 0; k < characters; ++k) out[k] = kAlphabet[group >> (18 - 6 * k) & 63];
    out += 4;
  };
  const auto byte = [&](std::size_t at) { return std::to_integer<std::uint32_t>(bytes[at]); };
  for (; i + 3 <= bytes.size(); i += 3) put(byte(i) << 16 | byte(i + 1) << 8 | byte(i + 2), 4);
  if (bytes.size() - i == 2) put(byte(i) << 16 | byte(i + 1) << 8, 3);
  if (bytes.size() - i == 1) put(byte(i) << 16, 2);
  return text;
}

std::vector<std::byte> base64_decode(std::string_view text) {
  std::vector<std::byte> bytes(text.size() / 4 * 3 + 3);
  std::byte* out = bytes.data();
  std::uint32_t group = 0;
  std::size_t in_group = 0, padding = 0;
  const auto put = [&out](std::uint32_t value) { *out++ = static_cast<std::byte>(value); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    // Four good characters at a time: nearly all of any text.
    while (in_group == 0 && padding == 0 && i + 4 <= text.size()) {
      const std::uint32_t whole = group_of(text.data() + i);
      if (whole >= kNoValue) break;
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
  bytes.resize(static_cast<std::size_t>(out - bytes.data()));
  return bytes;
}

}  // namespace bifocal::core
