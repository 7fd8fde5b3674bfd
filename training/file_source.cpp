#include "file_source.h"

#include <algorithm>
#include <system_error>

#include "bifocal/error.h"
#include "core/files.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

bool is_hidden(const fs::path& name) {
  return std::any_of(name.begin(), name.end(), [](const fs::path& part) {
    return part.string().starts_with('.') || part == "__MACOSX";
  });
}

std::vector<std::byte> read_image_file(const fs::path& path, std::size_t max_bytes) {
  try {
    return core::read_binary_file(path, max_bytes);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) throw;
    throw Error(ErrorCode::kImageTooLarge, error.what());
  }
}

}  // namespace

FileSource FileSource::open(const fs::path& path) {
  FileSource source;
  source.path_ = path;
  std::error_code failure;
  if (!fs::is_directory(path, failure)) source.archive_ = TarArchive::open(path);
  return source;
}

std::vector<std::string> FileSource::names() const {
  std::vector<std::string> names;
  if (archive_) {
    for (const TarArchive::Member& member : archive_->members())
      if (!is_hidden(member.name)) names.push_back(member.name);
  } else {
    std::error_code failure;
    const auto options = fs::directory_options::follow_directory_symlink |
                         fs::directory_options::skip_permission_denied;
    for (fs::recursive_directory_iterator entry(path_, options, failure), end;
         !failure && entry != end; entry.increment(failure)) {
      std::error_code ignored;
      if (is_hidden(entry->path().filename())) {
        if (entry->is_directory(ignored)) entry.disable_recursion_pending();
        continue;
      }
      if (entry->is_regular_file(ignored))
        names.push_back(entry->path().lexically_relative(path_).generic_string());
    }
    if (failure)
      throw Error(ErrorCode::kIo, path_.string() + ": cannot be listed", failure.message());
  }
  std::sort(names.begin(), names.end());
  return names;
}

ImageReader FileSource::reader(const std::string& name, std::size_t max_bytes) const {
  if (archive_) {
    const TarArchive::Member* member = archive_->find(name);
    if (member == nullptr) return {};
    return [archive = archive_, member, max_bytes] { return archive->read(*member, max_bytes); };
  }
  const fs::path file = path_ / name;
  std::error_code failure;
  if (!fs::is_regular_file(file, failure)) return {};
  return [file, max_bytes] { return read_image_file(file, max_bytes); };
}

}  // namespace bifocal::training
