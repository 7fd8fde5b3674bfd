#include "exif.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

namespace bifocal::vision {
namespace {

constexpr std::uint16_t kOrientationTag = 0x0112;
enum TiffType : std::uint16_t { kByte = 1, kShort = 3, kLong = 4 };

// Integers of a TIFF block in its own byte order; nothing is read outside of it.
class TiffReader {
 public:
  static std::optional<TiffReader> open(std::span<const std::byte> tiff) noexcept {
    if (tiff.size() < 8) return std::nullopt;
    const bool little = tiff[0] == std::byte{'I'} && tiff[1] == std::byte{'I'};
    const bool big = tiff[0] == std::byte{'M'} && tiff[1] == std::byte{'M'};
    if (!little && !big) return std::nullopt;
    const TiffReader reader(tiff, big);
    if (reader.integer(2, 2) != 42) return std::nullopt;
    return reader;
  }

  std::optional<std::uint32_t> integer(std::size_t offset, std::size_t size) const noexcept {
    if (offset > tiff_.size() || size > tiff_.size() - offset) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t at = big_ ? offset + i : offset + size - 1 - i;
      value = value << 8 | std::to_integer<std::uint32_t>(tiff_[at]);
    }
    return value;
  }

 private:
  TiffReader(std::span<const std::byte> tiff, bool big) : tiff_(tiff), big_(big) {}
  std::span<const std::byte> tiff_;
  bool big_;
};

// Short values lie in the entry itself, left-justified (TIFF 6.0, section 2).
std::optional<std::uint32_t> entry_value(const TiffReader& tiff, std::size_t entry) noexcept {
  switch (tiff.integer(entry + 2, 2).value_or(0)) {
    case kByte:
      return tiff.integer(entry + 8, 1);
    case kShort:
      return tiff.integer(entry + 8, 2);
    case kLong:
      return tiff.integer(entry + 8, 4);
    default:
      return std::nullopt;
  }
}

// out[x][y] = in[y][x], in tiles that stay in the cache.
Image transposed(const Image& image) {
  constexpr std::int64_t kTile = 32;
  Image out{image.height, image.width, std::vector<std::uint8_t>(image.pixels.size())};
  for (std::int64_t tile_y = 0; tile_y < image.height; tile_y += kTile)
    for (std::int64_t tile_x = 0; tile_x < image.width; tile_x += kTile)
      for (std::int64_t y = tile_y; y < std::min(tile_y + kTile, image.height); ++y)
        for (std::int64_t x = tile_x; x < std::min(tile_x + kTile, image.width); ++x)
          std::memcpy(&out.pixels[static_cast<std::size_t>(3 * (x * image.height + y))],
                      &image.pixels[static_cast<std::size_t>(3 * (y * image.width + x))], 3);
  return out;
}

void mirror(Image& image) {  // left to right
  for (std::int64_t y = 0; y < image.height; ++y) {
    std::uint8_t* const row = image.pixels.data() + 3 * y * image.width;
    for (std::int64_t a = 0, b = image.width - 1; a < b; ++a, --b)
      std::swap_ranges(row + 3 * a, row + 3 * a + 3, row + 3 * b);
  }
}

void flip(Image& image) {  // top to bottom
  const std::int64_t stride = 3 * image.width;
  for (std::int64_t a = 0, b = image.height - 1; a < b; ++a, --b)
    std::swap_ranges(image.pixels.data() + a * stride, image.pixels.data() + (a + 1) * stride,
                     image.pixels.data() + b * stride);
}

}  // namespace

Orientation read_orientation(std::span<const std::byte> exif) noexcept {
  if (exif.size() >= 6 && std::memcmp(exif.data(), "Exif\0\0", 6) == 0) exif = exif.subspan(6);
  const std::optional<TiffReader> tiff = TiffReader::open(exif);
  if (!tiff) return 1;
  const std::size_t directory = tiff->integer(4, 4).value_or(0);
  const std::uint32_t entries = tiff->integer(directory, 2).value_or(0);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    const std::optional<std::uint32_t> tag = tiff->integer(entry, 2);
    if (!tag) return 1;
    if (*tag != kOrientationTag) continue;
    const std::uint32_t value = entry_value(*tiff, entry).value_or(1);
    return value >= 1 && value <= 8 ? static_cast<Orientation>(value) : 1;
  }
  return 1;
}

Image upright(Image image, Orientation orientation) {
  // 5 to 8 lie on their side. Of each, the mirrorings that remain.
  if (orientation >= 5) image = transposed(image);
  if (orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7) mirror(image);
  if (orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8) flip(image);
  return image;
}

}  // namespace bifocal::vision
