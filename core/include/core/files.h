#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::core {

// Whole files. Each throws Error: kNotFound, kIo, or kInvalidArgument where the file has more than
// `max_bytes`; the message names the path.
std::string read_text_file(const std::filesystem::path& path,
                           std::uintmax_t max_bytes = std::numeric_limits<std::uintmax_t>::max());
std::vector<std::byte> read_binary_file(
    const std::filesystem::path& path,
    std::uintmax_t max_bytes = std::numeric_limits<std::uintmax_t>::max());

// Writes beside `path`, syncs and renames: a reader sees the old file or the whole new one.
void write_file_atomically(const std::filesystem::path& path, std::string_view contents);
// The same of contents in pieces, one after the other.
void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> pieces);

inline std::span<const std::byte> as_bytes(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace bifocal::core
