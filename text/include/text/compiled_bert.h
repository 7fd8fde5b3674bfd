#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

namespace bifocal::text {

// Immutable; thread-safe; no autograd. Agrees with the module in eval mode to 1e-4 relative.
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
  explicit CompiledBert(std::unique_ptr<const Packed> packed);
  std::unique_ptr<const Packed> packed_;
};

}  // namespace bifocal::text
