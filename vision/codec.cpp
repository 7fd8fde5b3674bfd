#include "vision/codec.h"

#include <array>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "bifocal/error.h"
#include "decoders.h"
#include "exif.h"

namespace bifocal::vision {
namespace {

using Bytes = std::span<const std::byte>;

bool has(Bytes encoded, std::size_t offset, std::string_view text) noexcept {
  return encoded.size() >= offset + text.size() &&
         std::memcmp(encoded.data() + offset, text.data(), text.size()) == 0;
}

struct Signature {
  std::size_t offset;
  std::string_view bytes;
  std::string_view name;
};

// Formats that people send in good faith: a message that names theirs saves them a search.
constexpr std::array kKnownElsewhere{
    Signature{0, "GIF8", "a GIF"},
    Signature{0, "BM", "a BMP"},
    Signature{0, std::string_view("II*\0", 4), "a TIFF"},
    Signature{0, std::string_view("MM\0*", 4), "a TIFF"},
    Signature{4, "ftypavif", "an AVIF"},
    Signature{4, "ftyphei", "a HEIC"},
    Signature{4, "ftypmif1", "a HEIF"},
    Signature{0, "%PDF", "a PDF"},
    Signature{0, "<svg", "an SVG"},
};

ImageFormat detect_format(Bytes encoded) {
  if (has(encoded, 0, "\xFF\xD8\xFF")) return ImageFormat::kJpeg;
  if (has(encoded, 0, "\x89PNG\r\n\x1A\n")) return ImageFormat::kPng;
  if (has(encoded, 0, "RIFF") && has(encoded, 8, "WEBP")) return ImageFormat::kWebp;
  if (encoded.empty()) throw Error(ErrorCode::kInvalidImage, "the image has no bytes");
  for (const Signature& known : kKnownElsewhere)
    if (has(encoded, known.offset, known.bytes))
      throw Error(ErrorCode::kUnsupportedImage,
                  "the image is " + std::string(known.name) + "; convert it to JPEG, PNG or WebP");
  throw Error(ErrorCode::kUnsupportedImage, "the image is not a JPEG, a PNG or a WebP");
}

ImageFormat check_encoded(Bytes encoded, const DecodeLimits& limits) {
  if (encoded.size() > limits.max_bytes)
    throw Error(ErrorCode::kImageTooLarge, "the image has " + std::to_string(encoded.size()) +
                                               " bytes; at most " +
                                               std::to_string(limits.max_bytes) + " are allowed");
  return detect_format(encoded);
}

StoredImage decode_stored(ImageFormat format, Bytes encoded, const DecodeLimits& limits,
                          const LeastSize& least) {
  switch (format) {
    case ImageFormat::kJpeg:
      return decode_jpeg(encoded, limits, least);
    case ImageFormat::kPng:
      return decode_png(encoded, limits);
    case ImageFormat::kWebp:
      return decode_webp(encoded, limits);
  }
  throw Error(ErrorCode::kInternal, "an image format without a decoder");
}

}  // namespace

std::string_view name_of(ImageFormat format) noexcept {
  switch (format) {
    case ImageFormat::kJpeg:
      return "jpeg";
    case ImageFormat::kPng:
      return "png";
    case ImageFormat::kWebp:
      return "webp";
  }
  return "unknown";
}

void check_limits(const ImageHeader& header, const DecodeLimits& limits) {
  if (header.width < 1 || header.height < 1)
    throw Error(ErrorCode::kInvalidImage, "the image's header says that it has no pixels");
  // Divided rather than multiplied: the product of two hostile sides may not fit.
  if (header.width <= limits.max_side && header.height <= limits.max_side &&
      header.width <= limits.max_pixels / header.height)
    return;
  throw Error(ErrorCode::kImageTooLarge, "the image has " + std::to_string(header.width) + " x " +
                                             std::to_string(header.height) + " pixels; at most " +
                                             std::to_string(limits.max_pixels) + " in all and " +
                                             std::to_string(limits.max_side) +
                                             " a side are allowed; make it smaller");
}

ImageHeader read_header(Bytes encoded, const DecodeLimits& limits) {
  ImageHeader header;
  switch (check_encoded(encoded, limits)) {
    case ImageFormat::kJpeg:
      header = read_jpeg_header(encoded);
      break;
    case ImageFormat::kPng:
      header = read_png_header(encoded);
      break;
    case ImageFormat::kWebp:
      header = read_webp_header(encoded);
      break;
  }
  check_limits(header, limits);
  return header;
}

Image decode(Bytes encoded, const DecodeLimits& limits) {
  return decode_shrunk(encoded, {}, limits).image;
}

ShrunkImage decode_shrunk(Bytes encoded, const LeastSize& least, const DecodeLimits& limits) {
  try {
    StoredImage stored = decode_stored(check_encoded(encoded, limits), encoded, limits, least);
    const bool on_side = swaps_sides(stored.orientation);
    const std::int64_t width = on_side ? stored.whole_height : stored.whole_width;
    const std::int64_t height = on_side ? stored.whole_width : stored.whole_height;
    return {upright(std::move(stored.image), stored.orientation), width, height};
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::kImageTooLarge,
                "there is not enough memory to decode the image; make it smaller or lower the "
                "limit on pixels");
  }
}

}  // namespace bifocal::vision
