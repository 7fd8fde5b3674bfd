#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "nn/cpu/kernels.h"
#include "nn/encoder_layer_config.h"
#include "nn/precision.h"

namespace bifocal::nn {

// What a layer computes is written once, on the structs of this header and of
// encoder_layer_weights.h. A trainable module hands them its own parameters, so that gradients
// flow; a compiled model keeps the copy that compiled() makes.

at::Tensor activate(const at::Tensor& x, Activation activation);

// y = x W^T + b along the last dimension. Cheap to copy (tensors are shared). Thread-safe.
class LinearWeights {
 public:
  LinearWeights() = default;
  LinearWeights(at::Tensor weight, at::Tensor bias);  // [out, in], [out]

  at::Tensor forward(const at::Tensor& x) const;  // [..., in] -> [..., out]
  at::Tensor forward(const at::Tensor& x, Activation activation) const;
  // The same in the numbers that the product is made of, for another product to take: what would
  // be rounded at its entrance is not widened first.
  at::Tensor forward_unwidened(const at::Tensor& x, Activation activation) const;

  // A copy without autograd, packed for the kernels that serve this machine (choose_kernels), for
  // use under c10::InferenceMode; a row's result has the same bits whatever rows stand beside it.
  LinearWeights compiled(Precision precision) const;
  // The same for the kernels at hand; for LibTorch's operators where they are null. There oneDNN
  // keeps a primitive for each number of rows that it meets (some 0.3 MiB each, up to
  // ONEDNN_PRIMITIVE_CACHE_CAPACITY, 1024 by default): callers do well to round lengths.
  LinearWeights compiled(Precision precision, const cpu::Kernels* kernels) const;

  // Of a module's own, not of a compiled copy.
  const at::Tensor& weight() const noexcept { return weight_; }  // [out, in]
  const at::Tensor& bias() const noexcept { return bias_; }      // [out]

 private:
  struct Packed;  // for kernels
  at::Tensor multiply(const at::Tensor& x, std::optional<Activation> activation) const;

  at::Tensor weight_;
  at::Tensor bias_;
  bool reordered_ = false;  // weight_ has oneDNN's layout
  std::shared_ptr<const Packed> packed_;
};

// Layer norm along the last dimension (Ba et al. 2016).
struct NormWeights {
  at::Tensor weight;  // [d]
  at::Tensor bias;    // [d]
  double eps = 1e-5;

  at::Tensor forward(const at::Tensor& x) const;
  NormWeights compiled() const;
};

}  // namespace bifocal::nn
