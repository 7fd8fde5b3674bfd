#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <optional>

#include "vision/block_weights.h"
#include "vision/conv_weights.h"
#include "vision/scaling.h"

namespace bifocal::vision {

// What every layer of one network shares.
struct ConvDefaults {
  ConvActivation activation = ConvActivation::kSilu;
  Padding padding = Padding::kSame;
  double batch_norm_eps = 1e-3;
  double batch_norm_momentum = 0.01;  // of the new statistics, as PyTorch counts it
};

// The weight of a convolution, and a bias where it has one. Weights: weight [out, in, k, k], bias
// [out].
class ConvParametersImpl : public torch::nn::Module {
 public:
  ConvParametersImpl(at::Tensor weight, at::Tensor bias);

  at::Tensor weight, bias;
};
TORCH_MODULE(ConvParameters);

// Weights: conv.weight; norm.{weight, bias, running_mean, running_var}.
class ConvNormActModuleImpl : public torch::nn::Module {
 public:
  ConvNormActModuleImpl(std::int64_t in, std::int64_t out, const Conv2dGeometry& geometry,
                        const ConvDefaults& defaults, bool with_activation);

  ConvNormAct weights() const;  // shares this module's parameters

  ConvParameters conv{nullptr};
  torch::nn::BatchNorm2d norm{nullptr};

 private:
  Conv2dGeometry geometry_;
  std::optional<ConvActivation> activation_;
};
TORCH_MODULE(ConvNormActModule);

// Hu et al. 2018: each channel scaled by sigmoid(expand(act(reduce(mean)))).
// Weights: reduce.{weight [r, c, 1, 1], bias}, expand.{weight [c, r, 1, 1], bias}.
class SqueezeExcitationImpl : public torch::nn::Module {
 public:
  SqueezeExcitationImpl(std::int64_t channels, std::int64_t reduced, ConvActivation activation);

  SqueezeExcitationWeights weights() const;

  ConvParameters reduce{nullptr}, expand{nullptr};

 private:
  ConvActivation activation_;
};
TORCH_MODULE(SqueezeExcitation);

// One block of a stage: MBConv (Sandler et al. 2018), fused MBConv (Tan and Le 2021) or a plain
// convolution, with a residual where stride is 1 and channels match.
// Weights: those of expand, depthwise, se, project that the kind has.
class MBConvImpl : public torch::nn::Module {
 public:
  // `drop_connect`: the probability that a sample's branch is dropped while training.
  MBConvImpl(const StageConfig& stage, std::int64_t in, std::int64_t stride, double drop_connect,
             const ConvDefaults& defaults);

  at::Tensor forward(const at::Tensor& x) const { return weights().forward(x); }
  BlockWeights weights() const;

  ConvNormActModule expand{nullptr}, depthwise{nullptr}, project{nullptr};  // empty where absent
  SqueezeExcitation se{nullptr};

 private:
  bool residual_;
  double drop_connect_;
};
TORCH_MODULE(MBConv);

}  // namespace bifocal::vision
