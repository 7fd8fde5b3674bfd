// augmentation_probe <in.safetensors> <out.safetensors>
//   Each tensor U8 [height, width, 3] is changed as its name says, "<id>/<operation>/<number>", and
//   written under the same name: brightness, contrast, saturation, sharpness by a factor; hue by
//   turns; autocontrast, equalize, invert, flip; posterize to so many bits; solarize from a
//   threshold; rotate_bilinear, rotate_bicubic and rotate_nearest by degrees, uncovering (1, 2, 3).

#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "training/image_ops.h"

namespace {

using namespace bifocal;
using vision::Image;
using vision::Interpolation;

void change(Image& image, const std::string& operation, double number) {
  constexpr training::Colour kFill{1, 2, 3};
  const auto factor = static_cast<float>(number);
  if (operation == "brightness") training::adjust_brightness(image, factor);
  if (operation == "contrast") training::adjust_contrast(image, factor);
  if (operation == "saturation") training::adjust_saturation(image, factor);
  if (operation == "sharpness") training::adjust_sharpness(image, factor);
  if (operation == "hue") training::adjust_hue(image, number);
  if (operation == "autocontrast") training::auto_contrast(image);
  if (operation == "equalize") training::equalize(image);
  if (operation == "invert") training::invert(image);
  if (operation == "flip") training::flip_horizontally(image);
  if (operation == "posterize") training::posterize(image, static_cast<int>(number));
  if (operation == "solarize") training::solarize(image, static_cast<int>(number));
  if (operation == "rotate_nearest")
    image = training::rotate(image, number, Interpolation::kNearest, kFill);
  if (operation == "rotate_bilinear")
    image = training::rotate(image, number, Interpolation::kBilinear, kFill);
  if (operation == "rotate_bicubic")
    image = training::rotate(image, number, Interpolation::kBicubic, kFill);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return 2;
  const core::Safetensors input = core::Safetensors::open(argv[1]);
  std::map<std::string, core::TensorView, std::less<>> output;
  std::map<std::string, Image> images;
  for (const auto& [name, tensor] : input.tensors()) {
    Image& image = images[name];
    image = {tensor.shape.at(1), tensor.shape.at(0), std::vector<std::uint8_t>(tensor.data.size())};
    std::memcpy(image.pixels.data(), tensor.data.data(), tensor.data.size());
    const std::size_t first = name.find('/'), second = name.rfind('/');
    change(image, name.substr(first + 1, second - first - 1), std::stod(name.substr(second + 1)));
    output[name] = {
        core::DType::kU8, {image.height, image.width, 3}, std::as_bytes(std::span(image.pixels))};
  }
  core::write_safetensors(argv[2], output);
} catch (const std::exception& error) {
  std::fprintf(stderr, "augmentation_probe: %s\n", error.what());
  return 1;
}
