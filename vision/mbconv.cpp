#include "vision/mbconv.h"

#include <cmath>
#include <utility>

#include "nn/linear.h"

namespace bifocal::vision {

namespace {

// Starts as a linear layer does, which it is on a pooled map.
ConvParameters pointwise(std::int64_t in, std::int64_t out) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  return ConvParameters(nn::uniform_weight({out, in, 1, 1}, bound),
                        nn::uniform_weight({out}, bound));
}

}  // namespace

ConvParametersImpl::ConvParametersImpl(at::Tensor weight_of_it, at::Tensor bias_of_it) {
  weight = register_parameter("weight", std::move(weight_of_it));
  if (bias_of_it.defined()) bias = register_parameter("bias", std::move(bias_of_it));
}

ConvNormActModuleImpl::ConvNormActModuleImpl(std::int64_t in, std::int64_t out,
                                             const Conv2dGeometry& geometry,
                                             const ConvDefaults& defaults, bool with_activation)
    : geometry_(geometry) {
  geometry_.padding = defaults.padding;
  if (with_activation) activation_ = defaults.activation;
  // He et al. 2015, by fan-out: how the original models start.
  const std::int64_t fan_out = geometry.kernel * geometry.kernel * out / geometry.groups;
  conv = register_module(
      "conv", ConvParameters(
                  nn::normal_weight({out, in / geometry.groups, geometry.kernel, geometry.kernel},
                                    std::sqrt(2.0 / static_cast<double>(fan_out))),
                  at::Tensor()));
  norm =
      register_module("norm", torch::nn::BatchNorm2d(torch::nn::BatchNormOptions(out)
                                                         .eps(defaults.batch_norm_eps)
                                                         .momentum(defaults.batch_norm_momentum)));
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
  reduce = register_module("reduce", pointwise(channels, reduced));
  expand = register_module("expand", pointwise(reduced, channels));
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
