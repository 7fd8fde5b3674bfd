#pragma once
// Pictures written by the libraries' own encoders, in variants that the tests of decoding need.

#include <cstdio>
// clang-format off
#include <jpeglib.h>
// clang-format on
#include <png.h>
#include <webp/encode.h>
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "vision/codec.h"

namespace bifocal::testing {

using Encoded = std::vector<std::byte>;
using Samples = std::vector<std::uint8_t>;

inline Encoded bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  return {bytes.begin(), bytes.end()};
}

inline void append(Encoded& to, const Encoded& more) {
  to.insert(to.end(), more.begin(), more.end());
}

inline Encoded big_endian(std::uint32_t value) {
  Encoded bytes;
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes.push_back(static_cast<std::byte>(value >> shift & 0xFF));
  return bytes;
}

// [height, width, channels]: gradients with some noise, so that every codec has work to do.
inline Samples samples(std::size_t width, std::size_t height, std::size_t channels,
                       std::uint32_t seed = 1) {
  std::mt19937 random(seed);
  Samples values(width * height * channels);
  for (std::size_t y = 0; y < height; ++y)
    for (std::size_t x = 0; x < width; ++x)
      for (std::size_t c = 0; c < channels; ++c)
        values[(y * width + x) * channels + c] = static_cast<std::uint8_t>(
            200 * (c % 2 ? x : y) / (c % 2 ? width : height) + random() % 40);
  return values;
}

inline vision::Image rgb_image(std::int64_t width, std::int64_t height, std::uint32_t seed = 1) {
  return {width, height,
          samples(static_cast<std::size_t>(width), static_cast<std::size_t>(height), 3, seed)};
}

struct JpegOptions {
  int components = 3;  // 1 grey, 3 RGB, 4 CMYK as it lies in the file
  bool progressive = false;
  bool ycck = false;
  int horizontal = 2, vertical = 2;  // subsampling of chroma
  Encoded app1{};
};

inline Encoded encode_jpeg(const Samples& pixels, unsigned width, unsigned height,
                           const JpegOptions& options = {}) {
  jpeg_compress_struct codec{};
  jpeg_error_mgr errors{};
  codec.err = jpeg_std_error(&errors);
  jpeg_create_compress(&codec);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&codec, &buffer, &size);
  codec.image_width = width;
  codec.image_height = height;
  codec.input_components = options.components;
  codec.in_color_space = options.components == 1   ? JCS_GRAYSCALE
                         : options.components == 3 ? JCS_RGB
                                                   : JCS_CMYK;
  jpeg_set_defaults(&codec);
  if (options.ycck) jpeg_set_colorspace(&codec, JCS_YCCK);
  jpeg_set_quality(&codec, 90, TRUE);
  if (options.components == 3) {
    codec.comp_info[0].h_samp_factor = options.horizontal;
    codec.comp_info[0].v_samp_factor = options.vertical;
  }
  if (options.progressive) jpeg_simple_progression(&codec);
  jpeg_start_compress(&codec, TRUE);
  if (!options.app1.empty())
    jpeg_write_marker(&codec, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(options.app1.data()),
                      static_cast<unsigned>(options.app1.size()));
  const std::size_t stride = std::size_t{width} * static_cast<std::size_t>(options.components);
  while (codec.next_scanline < height) {
    JSAMPROW row = const_cast<JSAMPLE*>(pixels.data()) + stride * codec.next_scanline;
    jpeg_write_scanlines(&codec, &row, 1);
  }
  jpeg_finish_compress(&codec);
  jpeg_destroy_compress(&codec);
  const auto bytes = std::as_bytes(std::span(buffer, size));
  Encoded encoded(bytes.begin(), bytes.end());
  std::free(buffer);
  return encoded;
}

struct PngOptions {
  int color_type = PNG_COLOR_TYPE_RGB;
  int bit_depth = 8;
  bool interlaced = false;
  std::vector<png_color> palette{};
  Samples palette_alpha{};
  Encoded exif{};
};

// `rows`: packed as PNG has them, 16 bits big-endian.
inline Encoded encode_png(const Samples& rows, png_uint_32 width, png_uint_32 height,
                          const PngOptions& options = {}) {
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  Encoded encoded;
  png_set_write_fn(
      png, &encoded,
      [](png_structp writer, png_bytep data, std::size_t size) {
        auto& out = *static_cast<Encoded*>(png_get_io_ptr(writer));
        const auto bytes = std::as_bytes(std::span(data, size));
        out.insert(out.end(), bytes.begin(), bytes.end());
      },
      nullptr);
  png_set_IHDR(png, info, width, height, options.bit_depth, options.color_type,
               options.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!options.palette.empty())
    png_set_PLTE(png, info, options.palette.data(), static_cast<int>(options.palette.size()));
  if (!options.palette_alpha.empty())
    png_set_tRNS(png, info, options.palette_alpha.data(),
                 static_cast<int>(options.palette_alpha.size()), nullptr);
  if (!options.exif.empty())
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(options.exif.size()),
                   reinterpret_cast<png_bytep>(const_cast<std::byte*>(options.exif.data())));
  png_write_info(png, info);
  const std::size_t stride = png_get_rowbytes(png, info);
  std::vector<png_bytep> pointers(height);
  for (png_uint_32 y = 0; y < height; ++y)
    pointers[y] = const_cast<png_bytep>(rows.data()) + stride * y;
  png_write_image(png, pointers.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return encoded;
}

inline Encoded png_chunk(std::string_view type, const Encoded& data) {
  Encoded body = bytes_of(type);
  append(body, data);
  Encoded chunk = big_endian(static_cast<std::uint32_t>(data.size()));
  append(chunk, body);
  append(chunk,
         big_endian(static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(body.data()),
                                                     static_cast<uInt>(body.size())))));
  return chunk;
}

// 8-bit RGB whose one IDAT holds `inflated`, which may be too much or too little for its sides.
inline Encoded png_around(std::uint32_t width, std::uint32_t height, const Samples& inflated) {
  uLongf size = compressBound(static_cast<uLong>(inflated.size()));
  Encoded deflated(size);
  compress2(reinterpret_cast<Bytef*>(deflated.data()), &size, inflated.data(),
            static_cast<uLong>(inflated.size()), 9);
  deflated.resize(size);
  Encoded header = big_endian(width);
  append(header, big_endian(height));
  append(header, bytes_of(std::string_view("\x08\x02\0\0\0", 5)));
  Encoded png = bytes_of("\x89PNG\r\n\x1A\n");
  append(png, png_chunk("IHDR", header));
  append(png, png_chunk("IDAT", deflated));
  append(png, png_chunk("IEND", {}));
  return png;
}

// channels: 3 or 4.
inline Encoded encode_webp(const Samples& pixels, int width, int height, int channels,
                           bool lossless) {
  std::uint8_t* out = nullptr;
  std::size_t size = 0;
  if (channels == 3)
    size = lossless ? WebPEncodeLosslessRGB(pixels.data(), width, height, 3 * width, &out)
                    : WebPEncodeRGB(pixels.data(), width, height, 3 * width, 80, &out);
  else
    size = lossless ? WebPEncodeLosslessRGBA(pixels.data(), width, height, 4 * width, &out)
                    : WebPEncodeRGBA(pixels.data(), width, height, 4 * width, 80, &out);
  if (size == 0) throw std::runtime_error("libwebp could not encode");
  const auto bytes = std::as_bytes(std::span(out, size));
  Encoded encoded(bytes.begin(), bytes.end());
  WebPFree(out);
  return encoded;
}

inline void append_little_endian(Encoded& to, std::size_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) to.push_back(static_cast<std::byte>(value >> (8 * i) & 0xFF));
}

inline Encoded riff_chunk(std::string_view type, const Encoded& data) {
  Encoded chunk = bytes_of(type);
  append_little_endian(chunk, data.size(), 4);
  append(chunk, data);
  if (data.size() % 2 == 1) chunk.push_back(std::byte{0});
  return chunk;
}

// An animation of one frame, `still`, whose corner lies at an even (x, y) of the canvas.
inline Encoded animated_webp(const Encoded& still, std::size_t width, std::size_t height,
                             std::size_t x, std::size_t y, std::size_t canvas_width,
                             std::size_t canvas_height, bool alpha) {
  Encoded header;
  append_little_endian(header, alpha ? 0x12 : 0x02, 4);
  append_little_endian(header, canvas_width - 1, 3);
  append_little_endian(header, canvas_height - 1, 3);
  Encoded frame;
  append_little_endian(frame, x / 2, 3);
  append_little_endian(frame, y / 2, 3);
  append_little_endian(frame, width - 1, 3);
  append_little_endian(frame, height - 1, 3);
  append_little_endian(frame, 100, 4);                         // milliseconds, flags
  frame.insert(frame.end(), still.begin() + 12, still.end());  // without its RIFF header
  Encoded body = bytes_of("WEBP");
  append(body, riff_chunk("VP8X", header));
  append(body, riff_chunk("ANIM", Encoded(6, std::byte{0x7F})));  // a background to be ignored
  append(body, riff_chunk("ANMF", frame));
  return riff_chunk("RIFF", body);
}

// An EXIF block that holds an orientation alone.
inline Encoded exif_block(int orientation, bool big = false) {
  Encoded tiff =
      big ? bytes_of(std::string_view("MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", 19))
          : bytes_of(std::string_view("II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", 18));
  tiff.push_back(static_cast<std::byte>(orientation));
  tiff.resize(26);
  return tiff;
}

inline Encoded app1_of(const Encoded& exif) {
  Encoded app1 = bytes_of(std::string_view("Exif\0\0", 6));
  append(app1, exif);
  return app1;
}

}  // namespace bifocal::testing
