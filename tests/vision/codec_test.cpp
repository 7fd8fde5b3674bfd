#include "vision/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include "bifocal/error.h"
#include "encoded_images.h"

namespace bifocal::vision {
namespace {

using testing::Encoded;
using ::testing::HasSubstr;
using testing::Samples;

constexpr std::size_t kWidth = 37, kHeight = 29;

ErrorCode code_of(const Encoded& encoded, const DecodeLimits& limits = {}) {
  try {
    decode(encoded, limits);
  } catch (const Error& error) {
    EXPECT_FALSE(error.message().empty());
    return error.code();
  }
  ADD_FAILURE() << "was decoded";
  return ErrorCode::kInternal;
}

// One of every kind of file that is decoded.
std::vector<std::pair<std::string, Encoded>> one_of_each() {
  const Samples grey = testing::samples(kWidth, kHeight, 1);
  const Samples rgb = testing::samples(kWidth, kHeight, 3);
  const Samples rgba = testing::samples(kWidth, kHeight, 4);
  const Samples rgba16 = testing::samples(kWidth, kHeight, 8);
  const auto jpeg = [](const Samples& pixels, testing::JpegOptions options) {
    return testing::encode_jpeg(pixels, kWidth, kHeight, options);
  };
  const auto png = [](const Samples& rows, testing::PngOptions options) {
    return testing::encode_png(rows, kWidth, kHeight, options);
  };
  const testing::PngOptions alpha{.color_type = PNG_COLOR_TYPE_RGBA};
  testing::PngOptions interlaced = alpha, deep = alpha;
  interlaced.interlaced = true;
  deep.bit_depth = 16;
  return {
      {"jpeg", jpeg(rgb, {})},
      {"jpeg, progressive", jpeg(rgb, {.progressive = true})},
      {"jpeg, 4:4:4", jpeg(rgb, {.horizontal = 1, .vertical = 1})},
      {"jpeg, grey", jpeg(grey, {.components = 1})},
      {"jpeg, CMYK", jpeg(rgba, {.components = 4})},
      {"jpeg, YCCK", jpeg(rgba, {.components = 4, .ycck = true})},
      {"png", png(rgb, {})},
      {"png, grey", png(grey, {.color_type = PNG_COLOR_TYPE_GRAY})},
      {"png, alpha", png(rgba, alpha)},
      {"png, alpha, interlaced", png(rgba, interlaced)},
      {"png, alpha, 16 bits", png(rgba16, deep)},
      {"webp, lossy", testing::encode_webp(rgb, kWidth, kHeight, 3, false)},
      {"webp, lossless", testing::encode_webp(rgb, kWidth, kHeight, 3, true)},
      {"webp, lossy, alpha", testing::encode_webp(rgba, kWidth, kHeight, 4, false)},
      {"webp, lossless, alpha", testing::encode_webp(rgba, kWidth, kHeight, 4, true)},
  };
}

TEST(Codec, HeaderAndPixelsAgree) {
  for (const auto& [name, encoded] : one_of_each()) {
    const ImageHeader header = read_header(encoded);
    const Image image = decode(encoded);
    EXPECT_EQ(name_of(header.format), name.substr(0, name.find(','))) << name;
    EXPECT_EQ(header.width, kWidth) << name;
    EXPECT_EQ(header.height, kHeight) << name;
    EXPECT_EQ(image.width, kWidth) << name;
    EXPECT_EQ(image.height, kHeight) << name;
    EXPECT_EQ(image.pixels.size(), 3 * kWidth * kHeight) << name;
  }
}

TEST(Codec, EveryTruncationIsAnError) {
  for (const auto& [name, whole] : one_of_each())
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Encoded prefix(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const ErrorCode code = code_of(prefix);
      EXPECT_TRUE(code == ErrorCode::kInvalidImage ||
                  (size < 16 && code == ErrorCode::kUnsupportedImage))
          << name << " cut to " << size << " of " << whole.size();
    }
}

TEST(Codec, ADamagedByteIsAnErrorOrAPicture) {
  for (const auto& [name, whole] : one_of_each())
    for (std::size_t at = 0; at < whole.size(); ++at) {
      Encoded damaged = whole;
      damaged[at] ^= static_cast<std::byte>(1 + at * 37 % 255);
      try {
        const Image image = decode(damaged, {.max_pixels = 100'000});
        EXPECT_EQ(image.pixels.size(), static_cast<std::size_t>(3 * image.width * image.height));
      } catch (const Error& error) {
        EXPECT_NE(error.code(), ErrorCode::kInternal) << name << " at " << at;
      }
    }
}

TEST(Codec, LosslessFormatsGiveBackThePixels) {
  for (const auto& [width, height] : {std::pair{1, 1}, {1, 40}, {40, 1}, {33, 17}}) {
    const auto w = static_cast<std::size_t>(width), h = static_cast<std::size_t>(height);
    const Samples rgb = testing::samples(w, h, 3);
    const auto png = [&](bool interlaced) {
      return decode(testing::encode_png(rgb, static_cast<png_uint_32>(w),
                                        static_cast<png_uint_32>(h), {.interlaced = interlaced}));
    };
    EXPECT_EQ(png(false).pixels, rgb);
    EXPECT_EQ(png(true).pixels, rgb);
    EXPECT_EQ(decode(testing::encode_webp(rgb, width, height, 3, true)).pixels, rgb);
  }
}

TEST(Codec, AlphaIsCompositedOnWhiteRoundedToNearest) {
  Samples rgba(4 * 256 * 256);  // every value under every alpha
  Samples expected;
  for (std::size_t alpha = 0; alpha < 256; ++alpha)
    for (std::size_t value = 0; value < 256; ++value) {
      const std::size_t i = 4 * (256 * alpha + value);
      rgba[i] = rgba[i + 1] = rgba[i + 2] = static_cast<std::uint8_t>(value);
      rgba[i + 3] = static_cast<std::uint8_t>(alpha);
      const double exact =
          (static_cast<double>(value * alpha) + 255.0 * static_cast<double>(255 - alpha)) / 255;
      expected.insert(expected.end(), 3, static_cast<std::uint8_t>(exact + 0.5));
    }
  for (const bool interlaced : {false, true})
    EXPECT_EQ(
        decode(testing::encode_png(rgba, 256, 256,
                                   {.color_type = PNG_COLOR_TYPE_RGBA, .interlaced = interlaced}))
            .pixels,
        expected);
}

TEST(Codec, TransparentWebpIsWhite) {
  Samples rgba = testing::samples(kWidth, kHeight, 4);
  for (std::size_t i = 3; i < rgba.size(); i += 4) rgba[i] = 0;
  for (const bool lossless : {false, true}) {
    const Image image = decode(testing::encode_webp(rgba, kWidth, kHeight, 4, lossless));
    EXPECT_TRUE(std::ranges::all_of(image.pixels, [](std::uint8_t v) { return v == 255; }));
  }
}

TEST(Codec, AnAnimationGivesItsFirstFrameOnAWhiteCanvas) {
  const std::size_t width = 8, height = 6, x = 4, y = 2, canvas_width = 21, canvas_height = 11;
  for (const bool alpha : {false, true}) {
    Samples pixels = testing::samples(width, height, alpha ? 4 : 3);
    for (std::size_t i = 3; alpha && i < pixels.size(); i += 4) pixels[i] = 255;
    const Image still = decode(testing::encode_webp(pixels, width, height, alpha ? 4 : 3, true));
    const auto animated = [&](std::size_t left) {
      return testing::animated_webp(
          testing::encode_webp(pixels, width, height, alpha ? 4 : 3, true), width, height, left, y,
          canvas_width, canvas_height, alpha);
    };
    const Image image = decode(animated(x));
    ASSERT_EQ(image.width, static_cast<std::int64_t>(canvas_width));
    ASSERT_EQ(image.height, static_cast<std::int64_t>(canvas_height));
    for (std::size_t row = 0; row < canvas_height; ++row)
      for (std::size_t column = 0; column < canvas_width; ++column) {
        const bool inside = row >= y && row < y + height && column >= x && column < x + width;
        for (std::size_t c = 0; c < 3; ++c)
          ASSERT_EQ(image.pixels[3 * (row * canvas_width + column) + c],
                    inside ? still.pixels[3 * ((row - y) * width + column - x) + c] : 255)
              << row << ", " << column;
      }
    EXPECT_EQ(code_of(animated(16)), ErrorCode::kInvalidImage);  // beyond the canvas
  }
}

TEST(Codec, SixteenBitsKeepTheHighByte) {
  const Samples deep{0x12, 0xFF, 0x80, 0x00, 0xFF, 0xFF, 0x00, 0xFF, 0x7F, 0x80, 0x01, 0x02};
  EXPECT_EQ(decode(testing::encode_png(deep, 2, 1, {.bit_depth = 16})).pixels,
            (Samples{0x12, 0x80, 0xFF, 0x00, 0x7F, 0x01}));
}

// A row as stored may be twice the row of output, and noise does not compress.
TEST(Codec, WideRowsOfSixteenBitNoiseAreRead) {
  constexpr std::size_t width = 60'000, height = 2;
  std::mt19937 random(5);
  for (const std::size_t channels : {std::size_t{3}, std::size_t{4}}) {
    Samples rows(2 * width * height * channels);
    for (std::uint8_t& value : rows) value = static_cast<std::uint8_t>(random());
    const int color = channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_RGBA;
    const Image image =
        decode(testing::encode_png(rows, width, height, {.color_type = color, .bit_depth = 16}));
    ASSERT_EQ(image.pixels.size(), 3 * width * height);
    if (channels == 4) continue;  // composited
    for (std::size_t i = 0; i < image.pixels.size(); ++i)
      ASSERT_EQ(image.pixels[i], rows[2 * i]) << i;
  }
}

TEST(Codec, PalettesAndTheirAlphaAreExpanded) {
  const std::vector<png_color> palette{{10, 20, 30}, {200, 100, 0}, {5, 5, 5}, {9, 8, 7}};
  const Samples packed{0b00011011};  // 2 bits a pixel: 0 1 2 3
  const Image image = decode(testing::encode_png(packed, 4, 1,
                                                 {.color_type = PNG_COLOR_TYPE_PALETTE,
                                                  .bit_depth = 2,
                                                  .palette = palette,
                                                  .palette_alpha = {255, 0}}));
  EXPECT_EQ(image.pixels, (Samples{10, 20, 30, 255, 255, 255, 5, 5, 5, 9, 8, 7}));
}

TEST(Codec, GreyBitsAreScaled) {
  const Image one = decode(
      testing::encode_png({0b10000000}, 2, 1, {.color_type = PNG_COLOR_TYPE_GRAY, .bit_depth = 1}));
  EXPECT_EQ(one.pixels, (Samples{255, 255, 255, 0, 0, 0}));
  const Image four = decode(
      testing::encode_png({0x5F}, 2, 1, {.color_type = PNG_COLOR_TYPE_GRAY, .bit_depth = 4}));
  EXPECT_EQ(four.pixels, (Samples{0x55, 0x55, 0x55, 255, 255, 255}));
}

TEST(Codec, ProgressiveIsTheSamePictureAsBaseline) {
  const Samples rgb = testing::samples(kWidth, kHeight, 3);
  EXPECT_EQ(decode(testing::encode_jpeg(rgb, kWidth, kHeight, {.progressive = true})).pixels,
            decode(testing::encode_jpeg(rgb, kWidth, kHeight)).pixels);
}

TEST(Codec, CmykIsInverted) {
  const auto plain = [](std::uint8_t c, std::uint8_t m, std::uint8_t y, std::uint8_t k, bool ycck) {
    Samples cmyk;
    for (int i = 0; i < 256; ++i) cmyk.insert(cmyk.end(), {c, m, y, k});
    return decode(testing::encode_jpeg(cmyk, 16, 16, {.components = 4, .ycck = ycck})).pixels;
  };
  for (const bool ycck : {false, true}) {
    EXPECT_THAT(plain(255, 255, 255, 255, ycck), ::testing::Each(255));
    EXPECT_THAT(plain(255, 255, 255, 0, ycck), ::testing::Each(0));
    EXPECT_THAT(plain(255, 255, 255, 100, ycck), ::testing::Each(100));
  }
  const Samples red = plain(255, 0, 0, 255, false);
  EXPECT_GT(red[0], 250);
  EXPECT_LT(red[1], 5);
}

TEST(Codec, OrientationIsApplied) {
  const Samples rgb = testing::samples(32, 16, 3);
  const Encoded exif = testing::exif_block(6);
  const Image jpeg = decode(testing::encode_jpeg(rgb, 32, 16, {.app1 = testing::app1_of(exif)}));
  EXPECT_EQ(jpeg.width, 16);
  EXPECT_EQ(jpeg.height, 32);
  const Image png = decode(testing::encode_png(rgb, 32, 16, {.exif = exif}));
  ASSERT_EQ(png.width, 16);
  // A camera turned a quarter: the stored left column, read upwards, is the upper row.
  for (std::size_t x = 0; x < 16; ++x) EXPECT_EQ(png.pixels[3 * x], rgb[3 * 32 * (15 - x)]);
}

TEST(Codec, HeaderIsCheckedBeforePixelsAreAllocated) {
  // Sides that multiply to more than memory, and beyond 64 bits if multiplied carelessly.
  EXPECT_EQ(code_of(testing::png_around(0x7FFFFFFF, 0x7FFFFFFF, {0})), ErrorCode::kImageTooLarge);
  EXPECT_EQ(code_of(testing::png_around(7'072, 7'072, {0})), ErrorCode::kImageTooLarge);
  EXPECT_EQ(code_of(testing::png_around(65'536, 1, {0})), ErrorCode::kImageTooLarge);
  EXPECT_EQ(code_of(testing::png_around(0, 5, {0})), ErrorCode::kInvalidImage);
  for (const auto& [name, encoded] : one_of_each()) {
    EXPECT_EQ(code_of(encoded, {.max_pixels = kWidth * kHeight - 1}), ErrorCode::kImageTooLarge)
        << name;
    EXPECT_EQ(code_of(encoded, {.max_bytes = encoded.size() - 1}), ErrorCode::kImageTooLarge);
    EXPECT_EQ(code_of(encoded, {.max_side = kWidth - 1}), ErrorCode::kImageTooLarge) << name;
    EXPECT_NO_THROW(
        decode(encoded,
               {.max_pixels = kWidth * kHeight, .max_bytes = encoded.size(), .max_side = kWidth}));
    EXPECT_THROW(read_header(encoded, {.max_pixels = 1}), Error) << name;
  }
}

TEST(Codec, TooFewAndTooManyPixelsAreErrors) {
  const Samples whole(4 * (1 + 3 * 4));  // 4 x 4: a filter byte and 4 pixels a row
  EXPECT_NO_THROW(decode(testing::png_around(4, 4, whole)));
  EXPECT_EQ(code_of(testing::png_around(4, 5, whole)), ErrorCode::kInvalidImage);
  // 200 MB of zeros deflate to 200 kB. libpng would inflate all of it to find the end.
  const Samples bomb(200'000'000);
  EXPECT_EQ(code_of(testing::png_around(4, 4, bomb)), ErrorCode::kInvalidImage);
}

// The file with its last scan (SOS segment and its data) repeated.
Encoded with_scans(const Encoded& progressive, int repeats) {
  std::size_t last = 0;
  for (std::size_t i = 0; i + 1 < progressive.size(); ++i)
    if (progressive[i] == std::byte{0xFF} && progressive[i + 1] == std::byte{0xDA}) last = i;
  const auto scan = progressive.begin() + static_cast<std::ptrdiff_t>(last);
  const auto end = progressive.end() - 2;  // EOI
  Encoded repeated(progressive.begin(), end);
  for (int i = 0; i < repeats; ++i) repeated.insert(repeated.end(), scan, end);
  repeated.insert(repeated.end(), end, progressive.end());
  return repeated;
}

TEST(Codec, ScansOfAJpegAreBounded) {
  const Encoded progressive = testing::encode_jpeg(testing::samples(kWidth, kHeight, 3), kWidth,
                                                   kHeight, {.progressive = true});
  EXPECT_NO_THROW(decode(with_scans(progressive, 10)));
  try {
    decode(with_scans(progressive, 5'000));
    ADD_FAILURE() << "was decoded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidImage);
    EXPECT_THAT(error.message(), HasSubstr("scans"));
  }
}

TEST(Codec, OtherFormatsAreNamed) {
  for (const auto& [bytes, name] :
       {std::pair<std::string_view, std::string_view>{"GIF89a......", "GIF"},
        {std::string_view("II*\0....", 8), "TIFF"},
        {"....ftypavif", "AVIF"},
        {"hello", "JPEG"}}) {
    try {
      decode(testing::bytes_of(bytes));
      ADD_FAILURE() << "was decoded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupportedImage);
      EXPECT_THAT(error.message(), HasSubstr(std::string(name)));
    }
  }
  EXPECT_EQ(code_of({}), ErrorCode::kInvalidImage);
}

}  // namespace
}  // namespace bifocal::vision
