#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::core {

// Element types of https://huggingface.co/docs/safetensors (the format, not a library).
enum class DType { kBool, kU8, kI8, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kI64, kU64, kF64 };

std::size_t size_of(DType dtype) noexcept;
std::string_view name_of(DType dtype) noexcept;  // "BF16"

struct TensorView {
  DType dtype{};
  std::vector<std::int64_t> shape;  // empty: a scalar
  std::span<const std::byte> data;  // little-endian, row-major; not necessarily aligned
};

// A checked view of a safetensors document. Header size, JSON, dtypes, shapes and offsets are all
// validated against the bytes at hand (no overlap, no gap, no overflow) before a tensor can be
// seen; anything else throws Error(kInvalidBundle) that names the source and the tensor.
// Views live as long as this object or a copy of it. Thread-safe to read.
class Safetensors {
 public:
  static Safetensors open(const std::filesystem::path& path);  // memory-mapped
  // Borrows `bytes`: they must outlive the object.
  static Safetensors parse(std::span<const std::byte> bytes, std::string source);

  const std::map<std::string, TensorView, std::less<>>& tensors() const noexcept {
    return tensors_;
  }
  const std::map<std::string, std::string, std::less<>>& metadata() const noexcept {
    return metadata_;
  }
  const TensorView& at(std::string_view name) const;  // Error(kInvalidBundle) if absent
  const std::string& source() const noexcept { return source_; }
  // Holding it keeps the views valid; null where the bytes are borrowed.
  const std::shared_ptr<const void>& mapping() const noexcept { return keep_alive_; }

 private:
  std::shared_ptr<const void> keep_alive_;
  std::string source_;
  std::map<std::string, TensorView, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> metadata_;
};

// Writes atomically; tensors by name, so that equal contents are equal bytes.
void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, TensorView, std::less<>>& tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata = {});

}  // namespace bifocal::core
