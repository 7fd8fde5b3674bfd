#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace bifocal::training {

// Scalars for TensorBoard: records of TFRecord's form (length and data, each with a masked
// CRC-32C), each one Event of tensorflow/core/util/event.proto. Not thread-safe.
class EventFile {
 public:
  // A new file in `directory`, named after the time, the host and the process as TensorBoard
  // expects; the directory is made where it is absent. Throws Error(kIo).
  explicit EventFile(const std::filesystem::path& directory);

  // At the present time, written through at once. One that cannot be written (a full disk) is
  // dropped: training goes on.
  void add_scalar(std::string_view tag, double value, std::int64_t step);

  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  void write(const std::string& event);

  std::filesystem::path path_;
  std::ofstream file_;
};

// Castagnoli's CRC (RFC 3720, appendix B.4).
std::uint32_t crc32c(std::string_view bytes) noexcept;

}  // namespace bifocal::training
