#pragma once

#include <cstddef>
#include <span>

namespace bifocal::http {

// A float32 matrix [rows, columns], row by row, in a NumPy file.
struct NpyMatrix {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::span<const float> values;  // into the file's bytes
};

// Reads NumPy's format 1.0 to 3.0
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html). `file` outlives what
// comes back and is aligned as memory maps are. Throws Error(kInvalidArgument) for anything but
// little-endian float32 in C order with two dimensions, and for a file of another length.
NpyMatrix read_npy(std::span<const std::byte> file);

}  // namespace bifocal::http
