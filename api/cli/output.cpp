#include "output.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "bifocal/error.h"

namespace bifocal::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBuffer = 1 << 16;

bool replaced_by_renaming(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  return !fs::exists(status) || fs::is_regular_file(status);
}

}  // namespace

Output::Output(const fs::path& path) : path_(path) {
  if (path == "-") {
    path_ = "standard output";
    descriptor_ = STDOUT_FILENO;
    return;
  }
  std::error_code failure;
  if (fs::is_directory(path)) fail(EISDIR);
  if (replaced_by_renaming(path)) {
    // Through a symbolic link, so that the link stays one.
    const fs::path target = fs::weakly_canonical(path, failure);
    if (!failure) path_ = target;
    temporary_ = path_.string() + ".partial-" + std::to_string(::getpid());
  }
  const fs::path& opened = temporary_.empty() ? path_ : temporary_;
  descriptor_ = ::open(opened.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    const int reason = errno;
    temporary_.clear();
    fail(reason);
  }
}

Output::~Output() {
  if (descriptor_ >= 0 && descriptor_ != STDOUT_FILENO) ::close(descriptor_);
  if (temporary_.empty() || keep_) return;
  ::unlink(temporary_.c_str());
}

void Output::fail(int reason) const {
  throw Error(reason == ENOENT || reason == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo,
              path_.string() + ": cannot be written (" + std::strerror(reason) + ")");
}

void Output::write(std::string_view bytes) {
  buffer_.append(bytes);
  if (buffer_.size() >= kBuffer) flush();
}

void Output::flush() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && errno == EPIPE) throw BrokenPipe{};
    if (written < 0) fail(errno);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  buffer_.clear();
}

void Output::overwrite(std::uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written =
        ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(errno);
    offset += static_cast<std::uint64_t>(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Output::commit() {
  flush();
  if (temporary_.empty()) return;
  // Some file systems report a full disk only here.
  if (::fsync(descriptor_) != 0) fail(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
  temporary_.clear();
}

fs::path Output::keep_unfinished() {
  flush();
  keep_ = true;
  return temporary_;
}

void require_new_directory(const fs::path& directory, bool force) {
  if (fs::exists(directory) && !force)
    throw Error(
        ErrorCode::kInvalidArgument,
        directory.string() + ": exists; choose another --out, or write into it with --force");
}

void print(std::string_view text) {
  Output output("-");
  output.write(text);
  output.commit();
}

}  // namespace bifocal::cli
