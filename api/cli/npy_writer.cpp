#include "npy_writer.h"

#include <bit>
#include <string>
#include <string_view>

#include "bifocal/error.h"

namespace bifocal::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "rows are written as they lie in memory");

// Of one size whatever the counts: it is written again when they are known.
constexpr std::size_t kHeaderSize = 128;

std::string npy_header(std::uint64_t rows, std::size_t columns) {
  std::string header("\x93NUMPY\x01\x00", 8);
  constexpr std::size_t kDictionarySize = kHeaderSize - 10;
  header += static_cast<char>(kDictionarySize & 0xff);
  header += static_cast<char>(kDictionarySize >> 8);
  header += "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
            std::to_string(columns) + "), }";
  header.resize(kHeaderSize - 1, ' ');
  header += '\n';
  return header;
}

}  // namespace

NpyWriter::NpyWriter(const std::filesystem::path& path, std::size_t columns)
    : output_(path), columns_(columns) {
  if (!output_.is_regular_file())
    throw Error(ErrorCode::kInvalidArgument,
                "--format npy needs a regular file: its first bytes say how many rows follow; "
                "use --output FILE.npy, or --format jsonl");
  output_.write(npy_header(0, columns_));
}

void NpyWriter::write_row(std::span<const float> row) {
  if (row.size() != columns_)
    throw Error(ErrorCode::kInternal, "a row of the matrix has another length than the others");
  output_.write({reinterpret_cast<const char*>(row.data()), row.size_bytes()});
  ++rows_;
}

void NpyWriter::commit() {
  output_.flush();
  output_.overwrite(0, npy_header(rows_, columns_));
  output_.commit();
}

}  // namespace bifocal::cli
