// libjpeg-turbo reports failure by a callback that must not return. It longjmps, for libjpeg's
// frames need not be able to unwind; so whatever calls libjpeg runs inside guarded(), in lambdas
// that hold nothing with a destructor, and all that must be freed belongs to a JpegReader outside
// of it.

// jpeglib.h leaves <cstdio> to its users, and the codes of jerror.h depend on it.
#include <cstdio>
// clang-format off
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <array>
#include <csetjmp>
#include <cstring>
#include <string>
#include <type_traits>

#include "bifocal/error.h"
#include "decoders.h"
#include "exif.h"
#include "rgb.h"

namespace bifocal::vision {
namespace {

// A scan can cost a pass over all coefficients and only a few bytes of file. Encoders write some
// ten, the most elaborate scripts in use stay below thirty.
constexpr int kMaxScans = 64;

enum class Failure { kNone, kCorrupt, kUnsupported, kTooManyScans, kOutOfMemory };

Failure failure_of(int message_code) noexcept {
  switch (message_code) {
    case JERR_BAD_PRECISION:
    case JERR_SOF_UNSUPPORTED:
    case JERR_CCIR601_NOTIMPL:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
    case JERR_NOTIMPL:
      return Failure::kUnsupported;
    case JERR_OUT_OF_MEMORY:
      return Failure::kOutOfMemory;
    default:
      return Failure::kCorrupt;
  }
}

// Warnings after which libjpeg would make pixels up. The others (bytes between markers, an odd JFIF
// version, an unusual progression) leave the picture whole.
bool loses_pixels(int message_code) noexcept {
  switch (message_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      return true;
    default:
      return false;
  }
}

struct ErrorManager {
  jpeg_error_mgr base{};  // first: libjpeg's pointer to it is a pointer to this
  std::jmp_buf jump{};
  Failure failure = Failure::kNone;
  std::array<char, JMSG_LENGTH_MAX> message{};
};

ErrorManager& manager_of(j_common_ptr codec) noexcept {
  return *reinterpret_cast<ErrorManager*>(codec->err);
}

[[noreturn]] void fail(j_common_ptr codec, Failure failure) {
  ErrorManager& manager = manager_of(codec);
  manager.failure = failure;
  manager.base.format_message(codec, manager.message.data());
  std::longjmp(manager.jump, 1);
}

void on_error(j_common_ptr codec) { fail(codec, failure_of(codec->err->msg_code)); }

void on_message(j_common_ptr codec, int level) {
  if (level < 0 && loses_pixels(codec->err->msg_code)) fail(codec, Failure::kCorrupt);
}

void on_output(j_common_ptr) {}

void on_progress(j_common_ptr codec) {
  if (reinterpret_cast<j_decompress_ptr>(codec)->input_scan_number > kMaxScans)
    fail(codec, Failure::kTooManyScans);
}

class JpegReader {
 public:
  explicit JpegReader(std::span<const std::byte> encoded) {
    codec_.err = jpeg_std_error(&manager_.base);
    manager_.base.error_exit = on_error;
    manager_.base.emit_message = on_message;
    manager_.base.output_message = on_output;
    monitor_.progress_monitor = on_progress;
    guarded([this, encoded] {
      jpeg_create_decompress(&codec_);
      codec_.progress = &monitor_;
      jpeg_mem_src(&codec_, reinterpret_cast<const unsigned char*>(encoded.data()),
                   static_cast<unsigned long>(encoded.size()));
      jpeg_save_markers(&codec_, JPEG_APP0 + 1, 0xFFFF);
      jpeg_read_header(&codec_, TRUE);
    });
    if (manager_.failure != Failure::kNone) {
      jpeg_destroy_decompress(&codec_);  // the destructor will not run
      throw error();
    }
  }
  ~JpegReader() { jpeg_destroy_decompress(&codec_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  ImageHeader header() const {
    return {ImageFormat::kJpeg, codec_.image_width, codec_.image_height};
  }

  Orientation orientation() const noexcept {
    constexpr std::string_view kExif{"Exif\0\0", 6};
    for (const jpeg_marker_struct* marker = codec_.marker_list; marker != nullptr;
         marker = marker->next)
      if (marker->data_length >= kExif.size() &&
          std::memcmp(marker->data, kExif.data(), kExif.size()) == 0)
        return read_orientation(std::as_bytes(std::span(marker->data, marker->data_length)));
    return 1;
  }

  // At 1 / `shrink` of its sides: 1, 2, 4 or 8.
  Image pixels(unsigned int shrink) {
    codec_.scale_num = 1;
    codec_.scale_denom = shrink;
    switch (codec_.num_components) {
      case 1:
      case 3:
        codec_.out_color_space = JCS_RGB;
        return rows(3);
      case 4:
        codec_.out_color_space = JCS_CMYK;
        return rows(4);
      default:
        throw Error(ErrorCode::kUnsupportedImage, "the JPEG has " +
                                                      std::to_string(codec_.num_components) +
                                                      " colour components; 1, 3 and 4 are decoded");
    }
  }

 private:
  // Returns when `step` has, or when libjpeg has failed: failure() tells.
  template <class Step>
  void guarded(Step step) {
    static_assert(std::is_trivially_destructible_v<Step>);
    if (setjmp(manager_.jump) == 0) step();
  }

  Image rows(int components) {
    guarded([this] { jpeg_calc_output_dimensions(&codec_); });
    if (manager_.failure != Failure::kNone) throw error();
    Image image{codec_.output_width, codec_.output_height, {}};
    const std::size_t width = codec_.output_width;
    image.pixels.resize(3 * width * codec_.output_height);
    // CMYK passes through a row of its own.
    std::vector<std::uint8_t> cmyk(components == 4 ? 4 * width : 0);
    guarded([this, width, rgb = image.pixels.data(), cmyk_row = cmyk.data(), components] {
      codec_.dct_method = JDCT_ISLOW;
      jpeg_start_decompress(&codec_);
      std::uint8_t* out = rgb;
      while (codec_.output_scanline < codec_.output_height) {
        JSAMPROW row = components == 4 ? cmyk_row : out;
        if (jpeg_read_scanlines(&codec_, &row, 1) != 1) ERREXIT(&codec_, JERR_INPUT_EMPTY);
        if (components == 4) rgb_from_inverted_cmyk(cmyk_row, out, width);
        out += 3 * width;
      }
      jpeg_finish_decompress(&codec_);
    });
    if (manager_.failure != Failure::kNone) throw error();
    return image;
  }

  // Adobe stores 255 - ink, whether or not the file says so by its APP14 marker.
  static void rgb_from_inverted_cmyk(const std::uint8_t* cmyk, std::uint8_t* rgb,
                                     std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t light = cmyk[4 * i + 3];  // what black lets through
      for (std::size_t c = 0; c < 3; ++c) {
        const std::uint32_t ink = 255u - cmyk[4 * i + c];
        rgb[3 * i + c] = static_cast<std::uint8_t>(light - divided_by_255(ink * light));
      }
    }
  }

  Error error() const {
    const std::string detail = manager_.message.data();
    switch (manager_.failure) {
      case Failure::kUnsupported:
        return {ErrorCode::kUnsupportedImage,
                "the JPEG is of a kind that is not decoded (12 bits, lossless or hierarchical); "
                "convert it to a baseline or progressive one",
                detail};
      case Failure::kTooManyScans:
        return {ErrorCode::kInvalidImage,
                "the JPEG has more than " + std::to_string(kMaxScans) + " scans", detail};
      case Failure::kOutOfMemory:
        return {ErrorCode::kImageTooLarge,
                "there is not enough memory to decode the JPEG; make it smaller", detail};
      case Failure::kNone:
      case Failure::kCorrupt:
        break;
    }
    return {ErrorCode::kInvalidImage, "the JPEG is truncated or corrupt", detail};
  }

  jpeg_decompress_struct codec_{};
  ErrorManager manager_;
  jpeg_progress_mgr monitor_{};
};

}  // namespace

ImageHeader read_jpeg_header(std::span<const std::byte> encoded) {
  return JpegReader(encoded).header();
}

StoredImage decode_jpeg(std::span<const std::byte> encoded, const DecodeLimits& limits,
                        const LeastSize& least) {
  JpegReader reader(encoded);
  const ImageHeader header = reader.header();
  check_limits(header, limits);
  const Orientation orientation = reader.orientation();
  const LeastSize stored = swaps_sides(orientation) ? LeastSize{least.height, least.width} : least;
  const bool is_whole = least.width <= 0 || least.height <= 0;
  unsigned int shrink = is_whole ? 1 : 8;
  while (shrink > 1 &&
         (header.width / shrink < stored.width || header.height / shrink < stored.height))
    shrink /= 2;
  return {reader.pixels(shrink), orientation, header.width, header.height};
}

}  // namespace bifocal::vision
