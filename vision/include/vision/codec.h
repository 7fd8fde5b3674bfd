#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace bifocal::vision {

// 8-bit RGB, row-major, no padding.
struct Image {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<std::uint8_t> pixels;  // [height, width, 3]
};

struct DecodeLimits {
  std::int64_t max_pixels = 50'000'000;
  std::size_t max_bytes = 20'000'000;
  std::int64_t max_side = 65'535;  // the longest that a JPEG can have
};

enum class ImageFormat { kJpeg, kPng, kWebp };
std::string_view name_of(ImageFormat format) noexcept;  // "jpeg"

struct ImageHeader {
  ImageFormat format{};
  std::int64_t width = 0;  // as stored, before orientation
  std::int64_t height = 0;
};

// Decodes no pixel. Throws Error: kUnsupportedImage, kInvalidImage, kImageTooLarge.
ImageHeader read_header(std::span<const std::byte> encoded, const DecodeLimits& limits = {});

// Decodes to RGB as stored: ICC profiles, gamma and chromaticities are ignored. EXIF orientation is
// applied; alpha is composited on white, rounded to nearest; 16 bits become 8 by their high byte;
// grey, palette and CMYK (as Adobe writes it, inverted) become RGB; an animated WebP gives its
// first frame on its canvas, an animated PNG its default image. Limits are checked against the
// header before a pixel is allocated. Damage that libjpeg would paint over is an error. Throws
// Error: kUnsupportedImage, kInvalidImage (truncated, corrupt), kImageTooLarge. Thread-safe; keeps
// nothing.
Image decode(std::span<const std::byte> encoded, const DecodeLimits& limits = {});

// Sides that a picture is wanted with at least, upright; 0: all that it has.
struct LeastSize {
  std::int64_t width = 0;
  std::int64_t height = 0;
};

struct ShrunkImage {
  Image image;
  std::int64_t width = 0;  // of the whole picture, upright
  std::int64_t height = 0;
};

// decode(), but that a JPEG is decoded at an eighth, a quarter or a half of its sides where those
// are not below `least`: by libjpeg's scaled inverse DCT, and by the rule of Pillow's
// Image.draft(). A large photograph takes a fraction of the time; its pixels differ a little.
ShrunkImage decode_shrunk(std::span<const std::byte> encoded, const LeastSize& least,
                          const DecodeLimits& limits = {});

}  // namespace bifocal::vision
