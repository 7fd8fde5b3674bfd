#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "bifocal/error.h"

namespace bifocal::core {
namespace {

// Closes on every path out; the mapping outlives its descriptor.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

MappedFile MappedFile::open(const std::filesystem::path& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) {
    const int reason = errno;
    if (reason == ENOENT || reason == ENOTDIR)
      throw Error(ErrorCode::kNotFound, path.string() + ": there is no such file");
    throw Error(ErrorCode::kIo, path.string() + ": cannot be opened", std::strerror(reason));
  }
  struct stat status {};
  if (::fstat(file.value, &status) != 0)
    throw Error(ErrorCode::kIo, path.string() + ": cannot be examined", std::strerror(errno));
  if (!S_ISREG(status.st_mode))
    throw Error(ErrorCode::kNotFound, path.string() + ": is not a regular file");

  MappedFile mapped;
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return mapped;  // mmap refuses an empty mapping
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
  if (address == MAP_FAILED)
    throw Error(ErrorCode::kIo, path.string() + ": cannot be mapped", std::strerror(errno));
  mapped.mapping_ = std::shared_ptr<const void>(
      address, [size](const void* start) { ::munmap(const_cast<void*>(start), size); });
  mapped.bytes_ = {static_cast<const std::byte*>(address), size};
  return mapped;
}

void MappedFile::let_go(std::span<const std::byte> bytes) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size());
  // Where it is refused the pages stay, which is no error.
  if (end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);  // NOLINT
}

}  // namespace bifocal::core
