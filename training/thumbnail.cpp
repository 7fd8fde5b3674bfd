#include "training/thumbnail.h"

#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

// After <cstdio>, which it needs.
#include <jpeglib.h>

#include "bifocal/error.h"
#include "core/base64.h"
#include "vision/resize.h"

namespace bifocal::training {
namespace {

constexpr int kQuality = 80;

struct Failing {
  jpeg_error_mgr manager;
  std::jmp_buf back;
};

[[noreturn]] void fail(j_common_ptr codec) {
  std::longjmp(reinterpret_cast<Failing*>(codec->err)->back, 1);
}

// False where libjpeg gave up. Nothing with a destructor lives here: libjpeg jumps over it.
bool compress(const vision::Image& image, unsigned char** bytes, unsigned long* size) {
  jpeg_compress_struct codec;
  Failing failing;
  codec.err = jpeg_std_error(&failing.manager);
  failing.manager.error_exit = fail;
  if (setjmp(failing.back) != 0) {
    jpeg_destroy_compress(&codec);
    return false;
  }
  jpeg_create_compress(&codec);
  jpeg_mem_dest(&codec, bytes, size);
  codec.image_width = static_cast<JDIMENSION>(image.width);
  codec.image_height = static_cast<JDIMENSION>(image.height);
  codec.input_components = 3;
  codec.in_color_space = JCS_RGB;
  jpeg_set_defaults(&codec);
  jpeg_set_quality(&codec, kQuality, TRUE);
  jpeg_start_compress(&codec, TRUE);
  while (codec.next_scanline < codec.image_height) {
    auto* row = const_cast<JSAMPROW>(image.pixels.data() +
                                     std::size_t{3} * codec.image_width * codec.next_scanline);
    jpeg_write_scanlines(&codec, &row, 1);
  }
  jpeg_finish_compress(&codec);
  jpeg_destroy_compress(&codec);
  return true;
}

std::vector<std::byte> encoded_jpeg(const vision::Image& image) {
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  const bool whole = compress(image, &bytes, &size);
  std::vector<std::byte> encoded;
  if (whole) {
    const auto* first = reinterpret_cast<const std::byte*>(bytes);
    encoded.assign(first, first + size);
  }
  std::free(bytes);
  if (!whole) throw Error(ErrorCode::kInternal, "a thumbnail could not be encoded");
  return encoded;
}

}  // namespace

std::string thumbnail_data_uri(const vision::Image& image, std::int64_t side) {
  const std::int64_t longer = std::max(image.width, image.height);
  if (image.width < 1 || image.height < 1)
    throw Error(ErrorCode::kInvalidArgument, "an image without pixels has no thumbnail");
  const auto shrunk = [&](std::int64_t length) {
    return longer <= side ? length : std::max<std::int64_t>(length * side / longer, 1);
  };
  const vision::Image small = vision::resize(image, shrunk(image.width), shrunk(image.height),
                                             vision::Interpolation::kBilinear);
  return "data:image/jpeg;base64," + core::base64_encode(encoded_jpeg(small));
}

}  // namespace bifocal::training
