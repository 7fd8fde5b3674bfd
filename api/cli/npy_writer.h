#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "output.h"

namespace bifocal::cli {

// A float32 matrix [rows, columns] in NumPy's format 1.0, row by row, the number of rows known only
// at the end. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
class NpyWriter {
 public:
  // Throws Error: kInvalidArgument where `path` is no place for a regular file, kIo.
  NpyWriter(const std::filesystem::path& path, std::size_t columns);

  void write_row(std::span<const float> row);
  void flush() { output_.flush(); }
  void commit();

 private:
  Output output_;
  std::size_t columns_;
  std::uint64_t rows_ = 0;
};

}  // namespace bifocal::cli
