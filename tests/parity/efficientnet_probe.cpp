// efficientnet_probe <checkpoint directory> <pixels.safetensors> <out.safetensors> [detail stage]
// Runs the trainable module and the compiled one on each tensor [B, 3, H, W] of the second file and
// writes "module.<name>.tokens", ".pooled" and, where there is a classifier, ".logits"; and the
// same under "compiled.".

#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <exception>
#include <string>

#include "core/safetensors.h"
#include "nn/weights.h"
#include "vision/efficientnet.h"
#include "vision/efficientnet_checkpoint.h"

namespace {

template <typename Network>
void run(const Network& network, bool has_classes, const at::Tensor& pixels,
         const std::string& prefix, bifocal::nn::StateDict& results) {
  const bifocal::vision::VisionOutput output = network.forward_features(pixels);
  results[prefix + ".tokens"] = output.tokens;
  results[prefix + ".pooled"] = output.pooled;
  if (has_classes) results[prefix + ".logits"] = network.classify(output.pooled);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4 && argc != 5) return 2;
  const c10::InferenceMode guard;
  const auto module =
      bifocal::vision::load_efficientnet(argv[1], argc == 5 ? std::stoll(argv[4]) : 0);
  const auto compiled = module->compile(bifocal::nn::Precision::kFp32);
  const bool has_classes = module->config().num_classes > 0;
  bifocal::nn::StateDict results;
  for (const auto& [name, pixels] :
       bifocal::nn::read_state_dict(bifocal::core::Safetensors::open(argv[2]))) {
    run(*module, has_classes, pixels, "module." + name, results);
    run(compiled, has_classes, pixels, "compiled." + name, results);
  }
  bifocal::nn::write_state_dict(argv[3], results, bifocal::core::DType::kF32);
} catch (const std::exception& error) {
  std::fprintf(stderr, "efficientnet_probe: %s\n", error.what());
  return 1;
}
