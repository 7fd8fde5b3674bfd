#pragma once

#include <png.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <vector>

namespace bifocal::testing {

// A PNG of smooth random colours: a different picture for each seed, the same on every machine.
inline std::vector<std::byte> encoded_picture(std::uint32_t seed, std::uint32_t width = 40,
                                              std::uint32_t height = 30) {
  std::mt19937 random(seed);
  std::vector<std::uint8_t> pixels(std::size_t{3} * width * height);  // [height, width, 3]
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const std::uint32_t across = random() % 256, down = random() % 256, start = random() % 256;
    for (std::uint32_t y = 0; y < height; ++y)
      for (std::uint32_t x = 0; x < width; ++x)
        pixels[3 * (std::size_t{y} * width + x) + channel] =
            static_cast<std::uint8_t>(start + across * x / width + down * y / height);
  }
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  if (!png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr))
    throw std::runtime_error(image.message);
  std::vector<std::byte> encoded(size);
  if (!png_image_write_to_memory(&image, encoded.data(), &size, 0, pixels.data(), 0, nullptr))
    throw std::runtime_error(image.message);
  encoded.resize(size);
  return encoded;
}

}  // namespace bifocal::testing
