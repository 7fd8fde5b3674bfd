// bench_imagenet_sample <vision directory> fp32|bf16 < paths
// For each path on standard input, a line: {"image": path, "top5": [five class indices]}.

#include <ATen/ops/from_blob.h>
#include <ATen/ops/topk.h>

#include <cstddef>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "core/json_config.h"
#include "core/mapped_file.h"
#include "vision/codec.h"
#include "vision/efficientnet.h"
#include "vision/efficientnet_checkpoint.h"
#include "vision/preprocess.h"

namespace {

using namespace bifocal;

vision::Preprocess read_preprocess(const std::filesystem::path& directory) {
  const std::filesystem::path own = directory / "preprocessor_config.json";
  return vision::Preprocess::from_config(
      core::JsonConfig::read(std::filesystem::exists(own) ? own : directory / "config.json"));
}

std::vector<std::int64_t> top5(const vision::CompiledEfficientNet& encoder,
                               const vision::Preprocess& preprocess, const std::string& path) {
  const core::MappedFile file = core::MappedFile::open(path);
  std::vector<float> pixels(static_cast<std::size_t>(3 * preprocess.height * preprocess.width));
  vision::preprocess_into(vision::decode(file.bytes()), preprocess, pixels);
  const at::Tensor batch =
      at::from_blob(pixels.data(), {1, 3, preprocess.height, preprocess.width});
  const at::Tensor logits = encoder.classify(encoder.forward_features(batch).pooled);
  const at::Tensor classes = std::get<1>(at::topk(logits[0], 5));
  return {classes.data_ptr<std::int64_t>(), classes.data_ptr<std::int64_t>() + 5};
}

}  // namespace

int main(int argc, char** argv) try {
  const std::string precision = argc == 3 ? argv[2] : "";
  if (precision != "fp32" && precision != "bf16") {
    std::fputs("usage: bench_imagenet_sample <vision directory> fp32|bf16 < paths\n", stderr);
    return 2;
  }
  const vision::CompiledEfficientNet encoder = vision::load_efficientnet(argv[1])->compile(
      precision == "bf16" ? nn::Precision::kBf16 : nn::Precision::kFp32);
  const vision::Preprocess preprocess = read_preprocess(argv[1]);
  for (std::string path; std::getline(std::cin, path);)
    std::cout << nlohmann::json{{"image", path}, {"top5", top5(encoder, preprocess, path)}} << '\n';
} catch (const std::exception& error) {
  std::fprintf(stderr, "bench_imagenet_sample: %s\n", error.what());
  return 1;
}
