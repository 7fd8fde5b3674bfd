#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace bifocal::training {

// One array of a cache, bfloat16, row by row.
struct CachedArray {
  std::string name;
  std::vector<std::int64_t> shape;  // [rows, ...]
};

// Where rows are written while a cache is made. Thread-safe for different rows.
class ArrayWriter {
 public:
  // Throws Error(kIo), at once where the disk has no room for all of them.
  ArrayWriter(const std::filesystem::path& directory, const std::vector<CachedArray>& arrays);
  ~ArrayWriter();
  ArrayWriter(const ArrayWriter&) = delete;
  ArrayWriter& operator=(const ArrayWriter&) = delete;

  // `row`: float32 or bf16, of the array's shape less its first dimension, or with fewer rows of
  // the second (the rest stays zero).
  void write(std::size_t array, std::int64_t row, const at::Tensor& values);
  void finish();  // on the disk

 private:
  std::vector<CachedArray> arrays_;
  std::vector<int> descriptors_;
  std::vector<std::filesystem::path> paths_;
};

struct CachedArrays {
  std::vector<at::Tensor> arrays;  // bf16, mapped read-only
  nlohmann::json about;
};

// The arrays of `directory`/`kind`-KEY, KEY being the SHA-256 of `made_from`; else calls `make`,
// which writes every row and returns what else to remember, and keeps them there.
CachedArrays cached_arrays(const std::filesystem::path& directory, const std::string& kind,
                           const nlohmann::json& made_from, const std::vector<CachedArray>& arrays,
                           const std::function<nlohmann::json(ArrayWriter&)>& make);

}  // namespace bifocal::training
