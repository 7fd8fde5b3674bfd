#pragma once

namespace bifocal::nn {

// While one lives, linear layers that are not compiled, on this thread, take bfloat16 operands and
// give float32 again, with their gradients likewise; everything else stays float32. For training:
// the weights that the optimiser steps are float32.
class Bf16Products {
 public:
  Bf16Products() noexcept;
  ~Bf16Products();
  Bf16Products(const Bf16Products&) = delete;
  Bf16Products& operator=(const Bf16Products&) = delete;

  static bool wanted() noexcept;  // on this thread

 private:
  bool before_;
};

}  // namespace bifocal::nn
