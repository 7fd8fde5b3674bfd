#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace bifocal::core {

bool is_data_uri(std::string_view reference) noexcept;

// The bytes of a base64 data URI (RFC 2397; base64 and base64url of RFC 4648, padded or not). The
// media type is not looked at: bytes say themselves what they are.
// Throws Error: kUnsupported (not base64), kInvalidItem (malformed), kImageTooLarge.
std::vector<std::byte> decode_data_uri(std::string_view uri, std::size_t max_bytes);

}  // namespace bifocal::core
