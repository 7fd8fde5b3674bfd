#include "vision/compiled_efficientnet.h"

#include <c10/core/InferenceMode.h>

#include <utility>

#include "vision/efficientnet_weights.h"

namespace bifocal::vision {

CompiledEfficientNet::CompiledEfficientNet(EfficientNetWeights weights)
    : weights_(std::make_unique<const EfficientNetWeights>(std::move(weights))) {}
CompiledEfficientNet::~CompiledEfficientNet() = default;
CompiledEfficientNet::CompiledEfficientNet(CompiledEfficientNet&&) noexcept = default;
CompiledEfficientNet& CompiledEfficientNet::operator=(CompiledEfficientNet&&) noexcept = default;

VisionOutput CompiledEfficientNet::forward_features(const at::Tensor& pixels) const {
  const c10::InferenceMode guard;
  return weights_->forward_features(pixels);
}

at::Tensor CompiledEfficientNet::classify(const at::Tensor& pooled) const {
  const c10::InferenceMode guard;
  return weights_->classify(pooled);
}

}  // namespace bifocal::vision
