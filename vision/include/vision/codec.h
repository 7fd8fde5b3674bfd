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
};

enum class ImageFormat { kJpeg, kPng, kWebp };
std::string_view name_of(ImageFormat format) noexcept;  // "jpeg"

struct ImageHeader {
  ImageFormat format{};
  std::int64_t width = 0;  // as stored, before orientation
  std::int64_t height = 0;
};

// Reads no more than the header. Throws Error: kUnsupportedImage, kInvalidImage, kImageTooLarge.
ImageHeader read_header(std::span<const std::byte> encoded, const DecodeLimits& limits = {});

// Decodes to sRGB-as-stored: ICC profiles are ignored. EXIF orientation is applied; alpha is
// composited on white; 16 bits become 8; grey, palette and CMYK become RGB; an animation gives its
// first frame. Limits are checked against the header before a pixel is allocated.
// Throws Error: kUnsupportedImage, kInvalidImage (truncated, corrupt), kImageTooLarge.
// Thread-safe; keeps nothing.
Image decode(std::span<const std::byte> encoded, const DecodeLimits& limits = {});

}  // namespace bifocal::vision
