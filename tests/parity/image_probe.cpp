// image_probe <decode|shrink|resize|preprocess> <in.safetensors> <out.safetensors>
//
// decode      U8 [n], a file                -> U8 [height, width, 3], or metadata: the error
// shrink      U8 [n], a file, named         -> the same name, U8 [height, width, 3], and as
// metadata
//             "<id>/<width>/<height>"          the whole picture's "<width> <height>"
// resize      U8 [height, width, 3], named  -> the same name, U8 [height, width, 3]
//             "<id>/<width>/<height>/<Pillow's number of the filter>"
// preprocess  U8 [height, width, 3] with    -> "<name>/pixels" U8 [height, width, 3],
//             its config as metadata           "<name>/values" F32 [3, height, width]

#include <algorithm>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "bifocal/error.h"
#include "core/safetensors.h"
#include "vision/codec.h"
#include "vision/preprocess.h"
#include "vision/resize.h"

namespace {

using namespace bifocal;

struct Output {
  std::map<std::string, core::TensorView, std::less<>> tensors;
  std::map<std::string, std::string, std::less<>> metadata;
  std::vector<std::vector<std::byte>> keep;

  template <class T>
  void add(const std::string& name, core::DType dtype, std::vector<std::int64_t> shape,
           const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    keep.emplace_back(bytes.begin(), bytes.end());
    tensors[name] = {dtype, std::move(shape), keep.back()};
  }
  void add(const std::string& name, const vision::Image& image) {
    add(name, core::DType::kU8, {image.height, image.width, 3}, image.pixels);
  }
};

vision::Image image_of(const core::TensorView& tensor) {
  vision::Image image{tensor.shape.at(1), tensor.shape.at(0),
                      std::vector<std::uint8_t>(tensor.data.size())};
  std::memcpy(image.pixels.data(), tensor.data.data(), tensor.data.size());
  return image;
}

void decode(const std::string& name, const core::TensorView& tensor, Output& out) {
  try {
    out.add(name, vision::decode(tensor.data));
  } catch (const Error& error) {
    out.metadata[name] = std::string(traits(error.code()).name) + ": " + error.message() + " (" +
                         error.detail() + ")";
  }
}

void shrink(const std::string& name, const core::TensorView& tensor, Output& out) {
  std::istringstream fields(name.substr(name.find('/')));
  vision::LeastSize least;
  char slash = 0;
  fields >> slash >> least.width >> slash >> least.height;
  const vision::ShrunkImage shrunk = vision::decode_shrunk(tensor.data, least);
  out.add(name, shrunk.image);
  out.metadata[name] = std::to_string(shrunk.width) + " " + std::to_string(shrunk.height);
}

void resize(const std::string& name, const core::TensorView& tensor, Output& out) {
  std::istringstream fields(name.substr(name.find('/')));
  std::int64_t width = 0, height = 0;
  int filter = 0;
  char slash = 0;
  fields >> slash >> width >> slash >> height >> slash >> filter;
  const auto interpolation = filter == 0   ? vision::Interpolation::kNearest
                             : filter == 2 ? vision::Interpolation::kBilinear
                                           : vision::Interpolation::kBicubic;
  out.add(name, vision::resize(image_of(tensor), width, height, interpolation));
}

void preprocess(const std::string& name, const core::TensorView& tensor, const std::string& config,
                Output& out) {
  const auto parsed = vision::Preprocess::from_config(core::JsonConfig::parse(config, name));
  const vision::Image image = image_of(tensor);
  out.add(name + "/pixels", vision::prepare(image, parsed));
  std::vector<float> values(static_cast<std::size_t>(3 * parsed.height * parsed.width));
  vision::preprocess_into(image, parsed, values);
  out.add(name + "/values", core::DType::kF32, {3, parsed.height, parsed.width}, values);
}

int run(const std::string& command, const std::string& in, const std::string& to) {
  const core::Safetensors input = core::Safetensors::open(in);
  Output out;
  for (const auto& [name, tensor] : input.tensors()) {
    if (command == "decode") decode(name, tensor, out);
    if (command == "shrink") shrink(name, tensor, out);
    if (command == "resize") resize(name, tensor, out);
    if (command == "preprocess") preprocess(name, tensor, input.metadata().at(name), out);
  }
  core::write_safetensors(to, out.tensors, out.metadata);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: image_probe <decode|shrink|resize|preprocess> <in> <out>\n";
    return 2;
  }
  try {
    return run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << '\n';
    return 1;
  }
}
