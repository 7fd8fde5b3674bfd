#include "core/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>

#include "bifocal/error.h"

namespace bifocal::core {
namespace {

template <typename Container>
Container read_whole(const std::filesystem::path& path, std::uintmax_t max_bytes) {
  std::error_code failure;
  const auto status = std::filesystem::status(path, failure);
  if (status.type() == std::filesystem::file_type::not_found)
    throw Error(ErrorCode::kNotFound, path.string() + ": there is no such file");
  if (status.type() == std::filesystem::file_type::directory)
    throw Error(ErrorCode::kNotFound, path.string() + ": is a directory, not a file");
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ErrorCode::kIo, path.string() + ": cannot be opened", std::strerror(errno));

  // Read until the end rather than trust a size: the path may be a pipe, or still growing.
  Container contents;
  char chunk[1 << 16];
  while (in.read(chunk, sizeof chunk), in.gcount() > 0) {
    const auto got = static_cast<std::size_t>(in.gcount());
    if (contents.size() + got > max_bytes)
      throw Error(ErrorCode::kInvalidArgument, path.string() + ": is larger than the limit of " +
                                                   std::to_string(max_bytes) + " bytes");
    const auto* start = reinterpret_cast<const typename Container::value_type*>(chunk);
    contents.insert(contents.end(), start, start + got);
  }
  if (in.bad()) throw Error(ErrorCode::kIo, path.string() + ": cannot be read");
  return contents;
}

[[noreturn]] void fail_to_write(const std::filesystem::path& path, int reason) {
  throw Error(ErrorCode::kIo,
              path.string() + ": cannot be written (" + std::strerror(reason) + ")");
}

void write_all(int descriptor, std::span<const std::byte> contents,
               const std::filesystem::path& path) {
  while (!contents.empty()) {
    const ssize_t written = ::write(descriptor, contents.data(), contents.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_to_write(path, errno);
    contents = contents.subspan(static_cast<std::size_t>(written));
  }
}

}  // namespace

std::string read_text_file(const std::filesystem::path& path, std::uintmax_t max_bytes) {
  return read_whole<std::string>(path, max_bytes);
}

std::vector<std::byte> read_binary_file(const std::filesystem::path& path,
                                        std::uintmax_t max_bytes) {
  return read_whole<std::vector<std::byte>>(path, max_bytes);
}

void write_file_atomically(const std::filesystem::path& path, std::string_view contents) {
  const std::span<const std::byte> pieces[] = {as_bytes(contents)};
  write_file_atomically(path, pieces);
}

void write_file_atomically(const std::filesystem::path& path,
                           std::span<const std::span<const std::byte>> pieces) {
  std::string temporary = path.string() + ".XXXXXX";
  const int descriptor = ::mkstemp(temporary.data());
  if (descriptor < 0) fail_to_write(path, errno);
  try {
    // mkstemp's 0600 would leave a bundle that only its maker can read.
    const mode_t mask = ::umask(0);
    ::umask(mask);
    if (::fchmod(descriptor, 0666 & ~mask) != 0) fail_to_write(path, errno);
    for (const std::span<const std::byte> piece : pieces) write_all(descriptor, piece, path);
    if (::fsync(descriptor) != 0) fail_to_write(path, errno);
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail_to_write(path, errno);
  } catch (...) {
    ::close(descriptor);
    ::unlink(temporary.c_str());
    throw;
  }
  ::close(descriptor);
}

}  // namespace bifocal::core
