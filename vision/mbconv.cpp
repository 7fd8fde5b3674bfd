#include "vision/mbconv.h"

#include <c10/core/GradMode.h>

#include <cmath>

namespace bifocal::vision {

ConvNormActModuleImpl::ConvNormActModuleImpl(std::int64_t in, std::int64_t out,
                                             const Conv2dGeometry& geometry,
                                             const ConvDefaults& defaults, bool with_activation)
    : geometry_(geometry) {
  geometry_.padding = defaults.padding;
  if (with_activation) activation_ = defaults.activation;
  conv =
      register_module("conv", torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, geometry.kernel)
                                                    .stride(geometry.stride)
                                                    .groups(geometry.groups)
                                                    .bias(false)));
  norm =
      register_module("norm", torch::nn::BatchNorm2d(torch::nn::BatchNormOptions(out)
                                                         .eps(defaults.batch_norm_eps)
                                                         .momentum(defaults.batch_norm_momentum)));
  // He et al. 2015, by fan-out: how the original models start.
  const std::int64_t fan_out = geometry.kernel * geometry.kernel * out / geometry.groups;
  const c10::NoGradGuard no_grad;
  conv->weight.normal_(0, std::sqrt(2.0 / static_cast<double>(fan_out)));
}

ConvNormAct ConvNormActModuleImpl::weights() const {
  ConvNormAct layer;
  layer.geometry = geometry_;
  layer.weight = conv->weight;
  layer.norm = ConvNormAct::BatchNorm{norm->weight,        norm->bias,
                                      norm->running_mean,  norm->running_var,
                                      norm->options.eps(), norm->options.momentum().value_or(0.01),
                                      norm->is_training()};
  layer.activation = activation_;
  return layer;
}

SqueezeExcitationImpl::SqueezeExcitationImpl(std::int64_t channels, std::int64_t reduced,
                                             ConvActivation activation)
    : activation_(activation) {
  reduce =
      register_module("reduce", torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, reduced, 1)));
  expand =
      register_module("expand", torch::nn::Conv2d(torch::nn::Conv2dOptions(reduced, channels, 1)));
}

SqueezeExcitationWeights SqueezeExcitationImpl::weights() const {
  // 1x1 on a pooled map is a linear layer, which is faster (no layout to convert).
  return {reduce->weight.flatten(1), reduce->bias, expand->weight.flatten(1), expand->bias,
          activation_};
}

MBConvImpl::MBConvImpl(const StageConfig& stage, std::int64_t in, std::int64_t stride,
                       double drop_connect, const ConvDefaults& defaults)
    : residual_(stride == 1 && in == stage.out_channels), drop_connect_(drop_connect) {
  const std::int64_t expanded = expanded_channels(in, stage.expand_ratio);
  const auto layer = [&](const char* name, std::int64_t from, std::int64_t to,
                         const Conv2dGeometry& geometry, bool with_activation) {
    return register_module(name, ConvNormActModule(from, to, geometry, defaults, with_activation));
  };
  if (stage.kind == BlockKind::kConv) {
    project = layer("project", in, stage.out_channels, {stage.kernel, stride}, true);
    return;
  }
  if (stage.kind == BlockKind::kFusedMBConv) {
    expand = layer("expand", in, expanded, {stage.kernel, stride}, true);
  } else {
    if (stage.expand_ratio != 1) expand = layer("expand", in, expanded, {}, true);
    depthwise = layer("depthwise", expanded, expanded, {stage.kernel, stride, expanded}, true);
  }
  if (stage.se_ratio > 0)
    se = register_module("se", SqueezeExcitation(expanded, squeezed_channels(in, stage.se_ratio),
                                                 defaults.activation));
  project = layer("project", expanded, stage.out_channels, {}, false);
}

BlockWeights MBConvImpl::weights() const {
  BlockWeights block;
  if (expand) block.expand = expand->weights();
  if (depthwise) block.depthwise = depthwise->weights();
  if (se) block.se = se->weights();
  block.project = project->weights();
  block.residual = residual_;
  block.drop_connect = is_training() ? drop_connect_ : 0;
  return block;
}

}  // namespace bifocal::vision
