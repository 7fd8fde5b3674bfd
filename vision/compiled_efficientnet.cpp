#include "vision/compiled_efficientnet.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include "vision/efficientnet_plan.h"
#include "vision/efficientnet_weights.h"

namespace bifocal::vision {
namespace {

VisionOutput run(const EfficientNetPlan& plan, const at::Tensor& pixels) {
  check_pixels(pixels);
  const std::int64_t images = pixels.size(0);
  const Grid size{pixels.size(2), pixels.size(3)};
  const Grid grid = plan.grid(size);
  VisionOutput output{at::empty({images, grid.pixels(), plan.token_channels()}, at::kFloat),
                      at::empty({images, plan.channels()}, at::kFloat), grid.height, grid.width};
  auto* tokens = output.tokens.mutable_data_ptr<float>();
  auto* pooled = output.pooled.mutable_data_ptr<float>();
  // One after another: larger products gain nothing on a core, and an image's bits stay its own.
  for (std::int64_t i = 0; i < images; ++i)
    plan.forward({pixels.const_data_ptr<float>() + i * pixels.stride(0), size, pixels.size(1),
                  pixels.stride(1), pixels.stride(2), pixels.stride(3)},
                 tokens + i * grid.pixels() * plan.token_channels(), pooled + i * plan.channels());
  return output;
}

}  // namespace

CompiledEfficientNet::CompiledEfficientNet(const EfficientNetWeights& network,
                                           const nn::cpu::Kernels* kernels) {
  const c10::InferenceMode guard;
  if (kernels == nullptr) {
    weights_ = std::make_unique<const EfficientNetWeights>(network.compiled(nn::Precision::kFp32));
    return;
  }
  plan_ = std::make_unique<const EfficientNetPlan>(network, *kernels);
  weights_ = std::make_unique<const EfficientNetWeights>(network.compiled_classifier());
}
CompiledEfficientNet::~CompiledEfficientNet() = default;
CompiledEfficientNet::CompiledEfficientNet(CompiledEfficientNet&&) noexcept = default;
CompiledEfficientNet& CompiledEfficientNet::operator=(CompiledEfficientNet&&) noexcept = default;

VisionOutput CompiledEfficientNet::forward_features(const at::Tensor& pixels) const {
  const c10::InferenceMode guard;
  return plan_ ? run(*plan_, pixels) : weights_->forward_features(pixels);
}

at::Tensor CompiledEfficientNet::classify(const at::Tensor& pooled) const {
  const c10::InferenceMode guard;
  return weights_->classify(pooled);
}

}  // namespace bifocal::vision
