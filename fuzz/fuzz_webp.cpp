#include "decoding.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  bifocal::fuzz::check_decoding(data, size, bifocal::vision::ImageFormat::kWebp);
  return 0;
}
