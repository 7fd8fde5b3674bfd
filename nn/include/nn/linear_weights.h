#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

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

  // A copy without autograd, in oneDNN's blocked layout where this LibTorch has it, for use under
  // c10::InferenceMode. oneDNN keeps a primitive for each number of rows that it meets (some 0.3
  // MiB each, up to ONEDNN_PRIMITIVE_CACHE_CAPACITY, 1024 by default): callers do well to round
  // lengths.
  LinearWeights compiled(Precision precision) const;

 private:
  at::Tensor weight_;
  at::Tensor bias_;
  bool packed_ = false;
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
