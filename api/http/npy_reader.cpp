#include "npy_reader.h"

#include <charconv>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "the NumPy file " + what);
}

// What stands after 'key': in the header's dictionary.
std::string_view after(std::string_view header, const char* key) {
  const std::size_t at = header.find("'" + std::string(key) + "':");
  if (at == std::string_view::npos) refuse(std::string("has no ") + key + " in its header");
  header.remove_prefix(at + std::string_view(key).size() + 3);
  while (header.starts_with(' ')) header.remove_prefix(1);
  return header;
}

std::size_t take_number(std::string_view& text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) refuse("has a shape that is not two numbers");
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  while (text.starts_with(' ')) text.remove_prefix(1);
  return number;
}

}  // namespace

NpyMatrix read_npy(std::span<const std::byte> file) {
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(file[i]); };
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.size() < 12 || !text.starts_with("\x93NUMPY")) refuse("is none: its magic is missing");
  const std::size_t version = byte(6);
  if (version < 1 || version > 3) refuse("has an unknown version");
  const std::size_t start = version == 1 ? 10 : 12;
  std::size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > file.size() - start) refuse("ends in its header");
  const std::string_view header = text.substr(start, length);
  if (!after(header, "descr").starts_with("'<f4'")) refuse("does not hold little-endian float32");
  if (!after(header, "fortran_order").starts_with("False")) refuse("is not in C order");

  std::string_view shape = after(header, "shape");
  if (!shape.starts_with('(')) refuse("has no shape");
  shape.remove_prefix(1);
  NpyMatrix matrix;
  matrix.rows = take_number(shape);
  if (!shape.starts_with(',')) refuse("has a shape that is not two numbers");
  shape.remove_prefix(1);
  matrix.columns = take_number(shape);
  if (!shape.starts_with(')')) refuse("has a shape that is not two numbers");

  const std::size_t bytes = file.size() - start - length;
  if ((start + length) % sizeof(float) != 0) refuse("has data that is not aligned");
  if (matrix.columns == 0 ||
      matrix.rows > std::numeric_limits<std::size_t>::max() / sizeof(float) / matrix.columns ||
      matrix.rows * matrix.columns * sizeof(float) != bytes)
    refuse("has " + std::to_string(bytes) + " bytes of data, which its shape does not fit");
  matrix.values = {reinterpret_cast<const float*>(file.data() + start + length),
                   matrix.rows * matrix.columns};
  return matrix;
}

}  // namespace bifocal::http
