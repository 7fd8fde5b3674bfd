#include "core/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/json_config.h"
#include "core/mapped_file.h"

namespace bifocal::core {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor data is used as it lies");

struct DTypeTraits {
  DType dtype;
  std::string_view name;
  std::size_t size;
};
constexpr std::array<DTypeTraits, 13> kDTypes{{{DType::kBool, "BOOL", 1},
                                               {DType::kU8, "U8", 1},
                                               {DType::kI8, "I8", 1},
                                               {DType::kI16, "I16", 2},
                                               {DType::kU16, "U16", 2},
                                               {DType::kF16, "F16", 2},
                                               {DType::kBF16, "BF16", 2},
                                               {DType::kI32, "I32", 4},
                                               {DType::kU32, "U32", 4},
                                               {DType::kF32, "F32", 4},
                                               {DType::kI64, "I64", 8},
                                               {DType::kU64, "U64", 8},
                                               {DType::kF64, "F64", 8}}};

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr std::size_t kLengthPrefix = 8;
constexpr std::size_t kLine = 64;

const DTypeTraits& traits_of(DType dtype) noexcept {
  return kDTypes[static_cast<std::size_t>(dtype)];
}

[[noreturn]] void corrupt(std::string_view source, std::string_view what) {
  throw Error(ErrorCode::kInvalidBundle, std::string(source) + ": " + std::string(what));
}

// One entry's dtype, shape and offsets, checked for itself; [begin, end) in the data section.
struct Extent {
  std::size_t begin = 0;
  std::size_t end = 0;
};

DType dtype_of(const JsonConfig& entry) {
  const std::string name = entry.string("dtype");
  for (const DTypeTraits& known : kDTypes)
    if (known.name == name) return known.dtype;
  throw entry.wrong("dtype", "\"" + name + "\" is not a type that is read here");
}

std::vector<std::int64_t> shape_of(const JsonConfig& entry) {
  const auto found = entry.json().find("shape");
  if (found == entry.json().end() || !found->is_array())
    throw entry.wrong("shape", "expected an array of whole numbers");
  std::vector<std::int64_t> shape;
  for (const nlohmann::json& size : *found) {
    if (!size.is_number_unsigned() || size.get<std::uint64_t>() > INT64_MAX)
      throw entry.wrong("shape", "expected whole numbers, none negative");
    shape.push_back(size.get<std::int64_t>());
  }
  return shape;
}

Extent extent_of(const JsonConfig& entry, std::size_t data_size) {
  const auto found = entry.json().find("data_offsets");
  const bool two = found != entry.json().end() && found->is_array() && found->size() == 2 &&
                   (*found)[0].is_number_unsigned() && (*found)[1].is_number_unsigned();
  if (!two) throw entry.wrong("data_offsets", "expected two whole numbers");
  const auto begin = (*found)[0].get<std::uint64_t>();
  const auto end = (*found)[1].get<std::uint64_t>();
  if (begin > end || end > data_size)
    throw entry.wrong("data_offsets", "lie outside of the file's " + std::to_string(data_size) +
                                          " bytes of data; the file is truncated or corrupt");
  return {static_cast<std::size_t>(begin), static_cast<std::size_t>(end)};
}

// Overflow counts as wrong: a shape that multiplies past 64 bits is a lie whatever the offsets say.
bool has_size(DType dtype, const std::vector<std::int64_t>& shape, std::size_t bytes) {
  std::size_t expected = size_of(dtype);
  for (const std::int64_t size : shape)
    if (__builtin_mul_overflow(expected, static_cast<std::size_t>(size), &expected)) return false;
  return expected == bytes;
}

// The format forbids holes and overlaps: with them, bytes could be smuggled past a checksum of
// tensors, or shared by two.
void check_contiguous(std::vector<Extent> extents, std::size_t data_size, std::string_view source) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::size_t position = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != position) corrupt(source, "tensors overlap or leave a gap");
    position = extent.end;
  }
  if (position != data_size) corrupt(source, "has bytes that belong to no tensor");
}

std::map<std::string, std::string, std::less<>> metadata_of(const nlohmann::json& value,
                                                            std::string_view source) {
  std::map<std::string, std::string, std::less<>> metadata;
  if (!value.is_object()) corrupt(source, "__metadata__: expected an object");
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) corrupt(source, "__metadata__: " + key + ": expected a string");
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

}  // namespace

std::size_t size_of(DType dtype) noexcept { return traits_of(dtype).size; }
std::string_view name_of(DType dtype) noexcept { return traits_of(dtype).name; }

Safetensors Safetensors::parse(std::span<const std::byte> bytes, std::string source) {
  Safetensors file;
  file.source_ = std::move(source);
  std::uint64_t header_size = 0;
  if (bytes.size() < kLengthPrefix) corrupt(file.source_, "is too short for a safetensors file");
  std::memcpy(&header_size, bytes.data(), kLengthPrefix);
  if (header_size > kMaxHeader || header_size > bytes.size() - kLengthPrefix)
    corrupt(file.source_, "is not a safetensors file, or is truncated: its header would have " +
                              std::to_string(header_size) + " bytes");
  const auto header_bytes = bytes.subspan(kLengthPrefix, header_size);
  const auto data = bytes.subspan(kLengthPrefix + header_size);
  const JsonConfig header = JsonConfig::parse(
      {reinterpret_cast<const char*>(header_bytes.data()), header_bytes.size()}, file.source_);

  std::vector<Extent> extents;
  for (const auto& [name, value] : header.json().items()) {
    if (name == "__metadata__") {
      file.metadata_ = metadata_of(value, file.source_);
      continue;
    }
    const JsonConfig entry(value, file.source_ + ": " + name);
    TensorView view{dtype_of(entry), shape_of(entry), {}};
    const Extent extent = extent_of(entry, data.size());
    if (!has_size(view.dtype, view.shape, extent.end - extent.begin))
      throw entry.wrong("shape", "does not fit its data_offsets");
    view.data = data.subspan(extent.begin, extent.end - extent.begin);
    extents.push_back(extent);
    file.tensors_.emplace(name, std::move(view));
  }
  check_contiguous(std::move(extents), data.size(), file.source_);
  return file;
}

Safetensors Safetensors::open(const std::filesystem::path& path) {
  auto mapped = std::make_shared<const MappedFile>(MappedFile::open(path));
  Safetensors file = parse(mapped->bytes(), path.string());
  file.keep_alive_ = std::move(mapped);
  return file;
}

const TensorView& Safetensors::at(std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) corrupt(source_, "has no tensor named " + std::string(name));
  return found->second;
}

void write_safetensors(const std::filesystem::path& path,
                       const std::map<std::string, TensorView, std::less<>>& tensors,
                       const std::map<std::string, std::string, std::less<>>& metadata) {
  nlohmann::json header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t position = 0;
  for (const auto& [name, view] : tensors) {
    if (!has_size(view.dtype, view.shape, view.data.size()))
      throw Error(ErrorCode::kInternal, "tensor " + name + " has a shape that is not its data's");
    header[name] = {{"dtype", name_of(view.dtype)},
                    {"shape", view.shape},
                    {"data_offsets", {position, position + view.data.size()}}};
    position += view.data.size();
  }
  std::string text = header.dump();
  // So that the data starts on a cache line.
  text.resize((kLengthPrefix + text.size() + kLine - 1) / kLine * kLine - kLengthPrefix, ' ');
  const std::uint64_t header_size = text.size();
  std::vector<std::span<const std::byte>> pieces = {std::as_bytes(std::span(&header_size, 1)),
                                                    as_bytes(text)};
  for (const auto& [name, view] : tensors) pieces.push_back(view.data);
  write_file_atomically(path, pieces);
}

}  // namespace bifocal::core
