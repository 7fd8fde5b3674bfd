#include "cached_arrays.h"

#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/json_config.h"
#include "core/mapped_file.h"
#include "core/sha256.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

constexpr int kFormatVersion = 1;

std::uint64_t elements(const std::vector<std::int64_t>& shape) {
  std::uint64_t count = 1;
  for (const std::int64_t size : shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

fs::path file_of(const fs::path& directory, const CachedArray& array) {
  return directory / (array.name + ".bf16");
}

[[noreturn]] void fail(const fs::path& path, int reason) {
  throw Error(ErrorCode::kIo, path.string() + ": the cache of features cannot be written (" +
                                  std::strerror(reason) + "); --cache names another place");
}

at::Tensor mapped(const fs::path& path, const std::vector<std::int64_t>& shape) {
  const core::MappedFile file = core::MappedFile::open(path);
  void* data = const_cast<std::byte*>(file.bytes().data());  // NOLINT: never written through
  return at::from_blob(
      data, shape, [file](void*) {}, at::dtype(at::kBFloat16));
}

// Whether what is there was made from the same, and is whole.
std::optional<CachedArrays> read(const fs::path& directory, const nlohmann::json& made_from,
                                 const std::vector<CachedArray>& arrays) {
  if (!fs::exists(directory / "cache.json")) return std::nullopt;
  try {
    const core::JsonConfig document = core::JsonConfig::read(directory / "cache.json");
    if (document.integer("format_version", 0, 1'000'000) != kFormatVersion ||
        document.child("made_from").json() != made_from)
      return std::nullopt;
    CachedArrays cached;
    cached.about = document.child("about").json();
    for (const CachedArray& array : arrays) {
      const fs::path path = file_of(directory, array);
      if (fs::file_size(path) != 2 * elements(array.shape)) return std::nullopt;
      cached.arrays.push_back(mapped(path, array.shape));
    }
    return cached;
  } catch (const Error&) {
    return std::nullopt;
  } catch (const fs::filesystem_error&) {
    return std::nullopt;
  }
}

}  // namespace

ArrayWriter::ArrayWriter(const fs::path& directory, const std::vector<CachedArray>& arrays)
    : arrays_(arrays) {
  for (const CachedArray& array : arrays) {
    paths_.push_back(file_of(directory, array));
    descriptors_.push_back(
        ::open(paths_.back().c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (descriptors_.back() < 0) fail(paths_.back(), errno);
    const auto bytes = static_cast<off_t>(2 * elements(array.shape));
    if (const int reason = ::posix_fallocate(descriptors_.back(), 0, bytes); reason != 0)
      fail(paths_.back(), reason);
  }
}

ArrayWriter::~ArrayWriter() {
  for (const int descriptor : descriptors_)
    if (descriptor >= 0) ::close(descriptor);
}

void ArrayWriter::write(std::size_t array, std::int64_t row, const at::Tensor& values) {
  const at::Tensor stored = values.to(at::kBFloat16).contiguous();
  const std::uint64_t row_bytes =
      2 * elements(arrays_[array].shape) / static_cast<std::uint64_t>(arrays_[array].shape.front());
  std::string_view left(static_cast<const char*>(stored.const_data_ptr()), stored.nbytes());
  auto offset = static_cast<off_t>(row_bytes * static_cast<std::uint64_t>(row));
  while (!left.empty()) {
    const ssize_t written = ::pwrite(descriptors_[array], left.data(), left.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(paths_[array], errno);
    left.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
}

void ArrayWriter::finish() {
  for (std::size_t i = 0; i < descriptors_.size(); ++i)
    if (::fsync(descriptors_[i]) != 0) fail(paths_[i], errno);
}

CachedArrays cached_arrays(const fs::path& directory, const std::string& kind,
                           const nlohmann::json& made_from, const std::vector<CachedArray>& arrays,
                           const std::function<nlohmann::json(ArrayWriter&)>& make) {
  const std::string key = core::sha256_hex(core::as_bytes(made_from.dump()));
  const fs::path place = directory / (kind + "-" + key.substr(0, 16));
  if (auto cached = read(place, made_from, arrays)) return std::move(*cached);

  const fs::path partial = place.string() + ".partial-" + std::to_string(::getpid());
  try {
    fs::create_directories(partial);
    ArrayWriter writer(partial, arrays);
    const nlohmann::json about = make(writer);
    writer.finish();
    const nlohmann::json document = {
        {"format_version", kFormatVersion}, {"made_from", made_from}, {"about", about}};
    core::write_file_atomically(partial / "cache.json", document.dump(1) + "\n");
    fs::remove_all(place);
    fs::rename(partial, place);
  } catch (const fs::filesystem_error& failure) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    fail(place, failure.code().value());
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    throw;
  }
  if (auto cached = read(place, made_from, arrays)) return std::move(*cached);
  throw Error(ErrorCode::kIo, place.string() + ": was written, and cannot be read again");
}

}  // namespace bifocal::training
