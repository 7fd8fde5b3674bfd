#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cstdint>

namespace bifocal::nn {

// While one lives, modules that this thread makes leave their weights unset, in memory that costs
// nothing before it is written: those of a file follow. To fill a model takes longer than to read
// it.
class WeightsFollow {
 public:
  WeightsFollow();
  ~WeightsFollow();
  WeightsFollow(const WeightsFollow&) = delete;
  WeightsFollow& operator=(const WeightsFollow&) = delete;
};

// A new weight: zero, or from ATen's generator, uniform between -bound and bound or normal with
// that deviation; unset where weights follow.
at::Tensor zero_weight(at::IntArrayRef sizes);
at::Tensor uniform_weight(at::IntArrayRef sizes, double bound);
at::Tensor normal_weight(at::IntArrayRef sizes, double deviation);

// y = x W^T + b, trainable; starts as torch.nn.Linear does (He et al. 2015, with a slope of sqrt
// 5). Weights: weight [out, in], bias [out].
class LinearImpl : public torch::nn::Module {
 public:
  LinearImpl(std::int64_t in, std::int64_t out);

  at::Tensor weight, bias;
};
TORCH_MODULE(Linear);

}  // namespace bifocal::nn
