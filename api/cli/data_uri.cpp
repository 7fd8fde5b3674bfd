#include "data_uri.h"

#include <openssl/evp.h>

#include <algorithm>
#include <string>

#include "bifocal/error.h"

namespace bifocal::cli {
namespace {

constexpr std::string_view kScheme = "data:";

char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool starts_with_ignoring_case(std::string_view text, std::string_view prefix) noexcept {
  return text.size() >= prefix.size() &&
         std::equal(prefix.begin(), prefix.end(), text.begin(),
                    [](char a, char b) { return lower(a) == lower(b); });
}

[[noreturn]] void malformed(std::string_view what) {
  throw Error(ErrorCode::kInvalidItem, "the image's data URI " + std::string(what));
}

// The standard alphabet, padded to whole groups of four: all that OpenSSL takes.
std::string canonical_base64(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  std::string canonical(text);
  std::replace(canonical.begin(), canonical.end(), '-', '+');
  std::replace(canonical.begin(), canonical.end(), '_', '/');
  const bool clean = std::all_of(canonical.begin(), canonical.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
  });
  if (!clean) malformed("holds a character that is not base64");
  if (canonical.size() % 4 == 1) malformed("ends in the middle of a byte; it may have been cut");
  canonical.append((4 - canonical.size() % 4) % 4, '=');
  return canonical;
}

std::vector<std::byte> decode_base64(std::string_view text, std::size_t max_bytes) {
  const std::string encoded = canonical_base64(text);
  const auto padding = static_cast<std::size_t>(std::count(encoded.begin(), encoded.end(), '='));
  const std::size_t size = encoded.size() / 4 * 3 - padding;
  if (size > max_bytes)
    throw Error(ErrorCode::kImageTooLarge, "the image has " + std::to_string(size) +
                                               " bytes, more than the limit of " +
                                               std::to_string(max_bytes) + " (--max-bytes)");
  std::vector<std::byte> bytes(encoded.size() / 4 * 3);
  // In pieces, since OpenSSL counts in int.
  constexpr std::size_t kPiece = std::size_t{4} << 20;
  for (std::size_t at = 0; at < encoded.size(); at += kPiece) {
    const std::size_t length = std::min(kPiece, encoded.size() - at);
    const int decoded = ::EVP_DecodeBlock(
        reinterpret_cast<unsigned char*>(bytes.data() + at / 4 * 3),
        reinterpret_cast<const unsigned char*>(encoded.data() + at), static_cast<int>(length));
    if (decoded < 0) malformed("is not base64");
  }
  bytes.resize(size);
  return bytes;
}

}  // namespace

bool is_data_uri(std::string_view reference) noexcept {
  return starts_with_ignoring_case(reference, kScheme);
}

std::vector<std::byte> decode_data_uri(std::string_view uri, std::size_t max_bytes) {
  const std::size_t comma = uri.find(',');
  if (comma == std::string_view::npos) malformed("has no comma before its data");
  const std::string_view header = uri.substr(0, comma);
  const std::size_t last = header.rfind(';');
  if (last == std::string_view::npos || header.size() - last != 7 ||
      !starts_with_ignoring_case(header.substr(last), ";base64"))
    throw Error(ErrorCode::kUnsupported,
                "the image's data URI is not base64; write data:image/jpeg;base64,...");
  return decode_base64(uri.substr(comma + 1), max_bytes);
}

}  // namespace bifocal::cli
