// libpng reports failure by a callback that must not return: it longjmps to guarded(), whose
// lambdas hold nothing with a destructor, as in jpeg.cpp.

#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <new>
#include <string>
#include <type_traits>

#include "bifocal/error.h"
#include "decoders.h"
#include "exif.h"
#include "rgb.h"

namespace bifocal::vision {
namespace {

// Once the last row is whole, libpng inflates what is left of the stream to find its end, and a
// file within the limit on bytes could hold minutes of that. A sound file has a few bytes there;
// this is what one may still read, beyond one row as stored (at 16 bits twice the row of output),
// before it is refused.
constexpr std::size_t kTailBytes = 64 * 1024;

class PngReader {
 public:
  explicit PngReader(std::span<const std::byte> encoded) : encoded_(encoded) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, &info_, nullptr);
      throw std::bad_alloc();
    }
    guarded([this] {
      png_set_read_fn(png_, this, on_read);
      skip_metadata();
      png_read_info(png_, info_);
    });
    if (failed_) {
      png_destroy_read_struct(&png_, &info_, nullptr);  // the destructor will not run
      throw error();
    }
  }
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  ImageHeader header() const {
    return {ImageFormat::kPng, png_get_image_width(png_, info_), png_get_image_height(png_, info_)};
  }

  Image pixels() {
    guarded([this] { set_transforms(); });
    if (failed_) throw error();
    const ImageHeader size = header();
    const auto width = static_cast<std::size_t>(size.width);
    const auto height = static_cast<std::size_t>(size.height);
    const std::size_t channels = png_get_channels(png_, info_);  // 3, or 4 with alpha
    if (png_get_bit_depth(png_, info_) != 8 || (channels != 3 && channels != 4))
      throw Error(ErrorCode::kInternal, "a PNG that was not brought to 8-bit RGB");

    Image image{size.width, size.height, std::vector<std::uint8_t>(3 * width * height)};
    // Interlaced rows are completed over seven passes, so that with alpha all must be kept.
    const bool keep_all = passes_ > 1 && channels == 4;
    std::vector<std::uint8_t> rgba(channels == 4 ? 4 * width * (keep_all ? height : 1) : 0);
    guarded(
        [this, width, height, channels, keep_all, rgb = image.pixels.data(), kept = rgba.data()] {
          for (int pass = 0; pass < passes_; ++pass)
            for (std::size_t y = 0; y < height; ++y) {
              if (pass == passes_ - 1 && y == height - 1) tail_ = stored_row_bytes_ + kTailBytes;
              std::uint8_t* const out = rgb + 3 * width * y;
              std::uint8_t* const row = channels == 3 ? out : kept + (keep_all ? 4 * width * y : 0);
              png_read_row(png_, row, nullptr);
              if (channels == 4 && pass == passes_ - 1) composite_on_white(row, out, width);
            }
          tail_ = encoded_.size();
          png_read_end(png_, info_);
        });
    if (failed_) throw error();
    return image;
  }

  // Known for certain only once the pixels are read: the chunk may stand behind them.
  Orientation orientation() const {
    png_uint_32 size = 0;
    png_bytep exif = nullptr;
    if (png_get_eXIf_1(png_, info_, &size, &exif) == 0) return 1;
    return read_orientation(std::as_bytes(std::span(exif, size)));
  }

 private:
  template <class Step>
  void guarded(Step step) {
    static_assert(std::is_trivially_destructible_v<Step>);
    if (setjmp(jump_) == 0) step();
  }

  // Nothing but the picture and its orientation is wanted, and what is skipped cannot be a bomb.
  void skip_metadata() {
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
    constexpr std::array<png_byte, 5> kExif{'e', 'X', 'I', 'f', 0};
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_AS_DEFAULT, kExif.data(), 1);
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // ours are checked before
  }

  void set_transforms() {
    stored_row_bytes_ = png_get_rowbytes(png_, info_);
    png_set_expand(png_);    // palettes, 1 to 4 bits, tRNS
    png_set_strip_16(png_);  // the high byte
    png_set_gray_to_rgb(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
  }

  static PngReader& reader_of(png_structp png) noexcept {
    return *static_cast<PngReader*>(png_get_error_ptr(png));
  }

  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    PngReader& reader = reader_of(png);
    reader.failed_ = true;
    std::strncpy(reader.message_.data(), message, reader.message_.size() - 1);
    std::longjmp(reader.jump_, 1);
  }

  static void on_warning(png_structp, png_const_charp) {}

  static void on_read(png_structp png, png_bytep out, std::size_t size) {
    PngReader& reader = reader_of(png);
    if (size > reader.encoded_.size() - reader.position_) png_error(png, "the file ends early");
    if (size > reader.tail_) png_error(png, "more compressed data than pixels");
    std::memcpy(out, reader.encoded_.data() + reader.position_, size);
    reader.position_ += size;
    reader.tail_ -= size;
  }

  Error error() const {
    return {ErrorCode::kInvalidImage, "the PNG is truncated or corrupt", message_.data()};
  }

  std::span<const std::byte> encoded_;
  std::size_t position_ = 0;
  std::size_t tail_ = encoded_.size();  // what may still be read
  std::size_t stored_row_bytes_ = 0;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  int passes_ = 1;
  bool failed_ = false;
  std::array<char, 128> message_{};
  std::jmp_buf jump_{};
};

}  // namespace

ImageHeader read_png_header(std::span<const std::byte> encoded) {
  return PngReader(encoded).header();
}

StoredImage decode_png(std::span<const std::byte> encoded, const DecodeLimits& limits) {
  PngReader reader(encoded);
  check_limits(reader.header(), limits);
  StoredImage stored{reader.pixels(), 1};
  stored.orientation = reader.orientation();
  return stored;
}

}  // namespace bifocal::vision
