#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "nn/precision.h"

namespace bifocal::nn {

class EncoderLayerImpl;

// What serves: an immutable copy of one layer's weights, prepacked where LibTorch offers it, without
// autograd or dropout. Agrees with the module to 1e-4 relative. Thread-safe.
class CompiledEncoderLayer {
 public:
  CompiledEncoderLayer(const EncoderLayerImpl& layer, Precision precision);
  ~CompiledEncoderLayer();
  CompiledEncoderLayer(CompiledEncoderLayer&&) noexcept;
  CompiledEncoderLayer& operator=(CompiledEncoderLayer&&) noexcept;

  at::Tensor forward(const at::Tensor& x, const at::Tensor& valid) const;
  at::Tensor forward_first(const at::Tensor& x, const at::Tensor& valid) const;

 private:
  struct Packed;
  std::unique_ptr<const Packed> packed_;
};

}  // namespace bifocal::nn
