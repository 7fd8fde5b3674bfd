#include <zlib.h>

#include <vector>

#include "decoding.h"

namespace {

// Gives every chunk the checksum of what it holds: otherwise no mutation would get past its chunk.
void correct_checksums(std::vector<std::uint8_t>& png) {
  constexpr std::size_t kSignature = 8, kFrame = 12;  // length, type and checksum
  const auto write = [&png](std::size_t at, std::uint32_t value) {
    for (std::size_t i = 0; i < 4; ++i)
      png[at + i] = static_cast<std::uint8_t>(value >> (24 - 8 * i));
  };
  for (std::size_t at = kSignature; png.size() >= kFrame && at <= png.size() - kFrame;) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = length << 8 | png[at + i];
    if (length > png.size() - kFrame - at) return;
    write(at + 8 + length,
          static_cast<std::uint32_t>(crc32(0, png.data() + at + 4, static_cast<uInt>(length + 4))));
    at += kFrame + length;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bifocal;
  fuzz::check_decoding(data, size, vision::ImageFormat::kPng);
  std::vector<std::uint8_t> corrected(data, data + size);
  correct_checksums(corrected);
  fuzz::check_decoding(corrected.data(), corrected.size(), vision::ImageFormat::kPng);
  return 0;
}
