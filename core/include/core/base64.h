#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::core {

// RFC 4648, section 4: the standard alphabet, padded.
std::string base64_encode(std::span<const std::byte> bytes);

// The standard and the URL-safe alphabet, padded or not; ASCII white space between is skipped, as
// MIME and pretty-printers put it. Throws Error(kInvalidArgument) saying what is wrong at which
// character.
std::vector<std::byte> base64_decode(std::string_view text);

}  // namespace bifocal::core
