#include "core/data_uri.h"

#include <algorithm>
#include <string>

#include "bifocal/error.h"
#include "core/base64.h"

namespace bifocal::core {
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

[[noreturn]] void too_large(std::size_t max_bytes) {
  throw Error(ErrorCode::kImageTooLarge,
              "the image has more bytes than the limit of " + std::to_string(max_bytes) +
                  "; --max-bytes, or max-image-bytes of a server, raises it");
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
  const std::string_view data = uri.substr(comma + 1);
  // Before anything is allocated: three bytes for four characters, some of which may be space.
  if (data.size() / 4 * 3 > max_bytes + max_bytes / 8 + 64) too_large(max_bytes);
  try {
    std::vector<std::byte> bytes = base64_decode(data);
    if (bytes.size() > max_bytes) too_large(max_bytes);
    return bytes;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    malformed(error.message());
  }
}

}  // namespace bifocal::core
