#include "vision/efficientnet.h"

#include <ATen/ops/dropout.h>
#include <torch/nn/modules/container/modulelist.h>

#include <string>
#include <utility>

#include "nn/kernel_choice.h"

namespace bifocal::vision {
EfficientNetImpl::EfficientNetImpl(EfficientNetConfig config) : config_(std::move(config)) {
  check(config_);
  const ConvDefaults defaults{config_.activation, config_.padding, config_.batch_norm_eps,
                              config_.batch_norm_momentum};
  stem_ = register_module(
      "stem", ConvNormActModule(3, config_.stem_channels, Conv2dGeometry{3, 2}, defaults, true));
  // The deeper a block, the likelier it is dropped, from 0 to drop_connect_rate.
  const double drop_step = config_.drop_connect_rate /
                           static_cast<double>(blocks_of_stages(config_, config_.stages.size()));
  torch::nn::ModuleList stages = register_module("stages", torch::nn::ModuleList());
  for (const StageConfig& stage : config_.stages) {
    torch::nn::ModuleList layers;
    for (std::int64_t layer = 0; layer < stage.layers; ++layer) {
      const bool first = layer == 0;
      const double drop = drop_step * static_cast<double>(blocks_.size());
      blocks_.push_back(MBConv(stage, first ? stage.in_channels : stage.out_channels,
                               first ? stage.stride : 1, drop, defaults));
      layers->push_back(blocks_.back());
    }
    stages->push_back(layers);
  }
  head_ = register_module(
      "head", ConvNormActModule(config_.stages.back().out_channels, config_.head_channels,
                                Conv2dGeometry{}, defaults, true));
  if (config_.num_classes > 0)
    classifier_ =
        register_module("classifier", nn::Linear(config_.head_channels, config_.num_classes));
}

EfficientNetWeights EfficientNetImpl::weights() const {
  EfficientNetWeights network;
  network.stem = stem_->weights();
  for (const MBConv& block : blocks_) network.blocks.push_back(block->weights());
  network.head = head_->weights();
  network.detail_blocks = blocks_of_stages(config_, static_cast<std::size_t>(config_.detail_stage));
  network.detail_fold = detail_fold(config_);
  if (classifier_) {
    network.classifier_weight = classifier_->weight;
    network.classifier_bias = classifier_->bias;
  }
  return network;
}

VisionOutput EfficientNetImpl::forward_features(const at::Tensor& pixels) const {
  return weights().forward_features(pixels);
}

at::Tensor EfficientNetImpl::classify(const at::Tensor& pooled) const {
  return weights().classify(pooled);
}

at::Tensor EfficientNetImpl::forward(const at::Tensor& pixels) const {
  return classify(at::dropout(forward_features(pixels).pooled, config_.dropout, is_training()));
}

CompiledEfficientNet EfficientNetImpl::compile(nn::Precision wanted) const {
  const nn::Precision precision = nn::unquantised(wanted);
  // Where no kernels of ours multiply bf16, LibTorch's would: slower here than ours of fp32.
  const nn::cpu::Kernels* kernels = nn::choose_kernels(precision);
  if (kernels == nullptr && precision != nn::Precision::kFp32)
    kernels = nn::choose_kernels(nn::Precision::kFp32);
  return CompiledEfficientNet(weights(), kernels);
}

}  // namespace bifocal::vision
