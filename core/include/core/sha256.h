#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace bifocal::core {

// FIPS 180-4 SHA-256, as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::span<const std::byte> bytes);

}  // namespace bifocal::core
