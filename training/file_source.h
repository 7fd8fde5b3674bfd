#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "training/records.h"
#include "training/tar_archive.h"

namespace bifocal::training {

// Files by their path from the root of a directory or of a tar. A value type; thread-safe to read.
class FileSource {
 public:
  // A directory, or a file that is a tar. Throws Error: kNotFound, kIo, kUnsupported.
  static FileSource open(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept { return path_; }
  bool is_directory() const noexcept { return archive_ == nullptr; }
  const std::shared_ptr<const TarArchive>& archive() const noexcept { return archive_; }

  // Every regular file, '/' between folders, sorted by bytes; hidden ones ("." or "__MACOSX"
  // anywhere in the path) left out.
  std::vector<std::string> names() const;
  // Reads that file; empty where there is none.
  ImageReader reader(const std::string& name, std::size_t max_bytes) const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const TarArchive> archive_;  // null: a directory
};

}  // namespace bifocal::training
