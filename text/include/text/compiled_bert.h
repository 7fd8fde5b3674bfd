#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "nn/precision.h"

namespace bifocal::text {

struct BertConfig;
struct BertWeights;

// A BERT packed to serve: by kernels of ours (nn::choose_kernels), then padding costs nothing and a
// text's states have the same bits whatever texts stand beside it; or by LibTorch's operators.
// Immutable; thread-safe; no autograd. Agrees with the module in eval mode to 1e-4 relative at
// every valid position; what stands at the others has no meaning.
class CompiledBert {
 public:
  ~CompiledBert();
  CompiledBert(CompiledBert&&) noexcept;
  CompiledBert& operator=(CompiledBert&&) noexcept;
  // As BertImpl::forward.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& type_ids,
                     const at::Tensor& valid) const;

 private:
  friend class BertImpl;
  struct Packed;
  CompiledBert(const BertConfig& config, const BertWeights& weights, nn::Precision precision);
  std::unique_ptr<const Packed> packed_;
};

}  // namespace bifocal::text
