#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace bifocal::core {

// A file mapped read-only for as long as any copy lives. Copies share the mapping; thread-safe.
class MappedFile {
 public:
  // Throws Error: kNotFound if there is no such file, kIo if it cannot be opened or mapped.
  static MappedFile open(const std::filesystem::path& path);

  std::span<const std::byte> bytes() const noexcept { return bytes_; }

  // The pages of a mapped file that hold `bytes` count no more as this process's, until they are
  // touched again: what was read once need not stay.
  static void let_go(std::span<const std::byte> bytes) noexcept;

 private:
  std::shared_ptr<const void> mapping_;
  std::span<const std::byte> bytes_;
};

}  // namespace bifocal::core
