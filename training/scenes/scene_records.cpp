#include <png.h>

#include <cstdio>
#include <string>

#include "bifocal/error.h"
#include "training/scenes/scene.h"

namespace bifocal::training {
namespace {

std::vector<std::byte> encoded_png(const vision::Image& picture) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::byte> encoded(size);
  if (!png_image_write_to_memory(&image, encoded.data(), &size, 0, picture.pixels.data(), 0,
                                 nullptr))
    throw Error(ErrorCode::kInternal,
                std::string("a scene could not be encoded: ") + image.message);
  encoded.resize(size);
  return encoded;
}

std::string id_of(SceneSplit split, std::size_t index) {
  char number[24];
  std::snprintf(number, sizeof number, "-%06zu", index);
  return std::string(name_of(split)) + number;
}

}  // namespace

RecordSet scene_records(SceneSplit split, std::uint64_t seed, std::size_t count) {
  RecordSet records;
  for (std::size_t index = 0; index < count; ++index) {
    Record record;
    record.id = id_of(split, index);
    record.image = "images/" + record.id + ".png";
    record.split = name_of(split);
    record.contrasts = make_scene(split, seed, index).contrasts;
    records.add(std::move(record), [split, seed, index] {
      return encoded_png(draw_scene(make_scene(split, seed, index)));
    });
  }
  return records;
}

}  // namespace bifocal::training
