#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>

#include "nn/cpu/kernels.h"
#include "nn/cpu/memory.h"
#include "nn/linear_weights.h"

namespace bifocal::nn {

// A linear layer and a layer norm as a plan holds them: packed, in a WeightArena that outlives
// them.
struct PackedLinear {
  const void* weights = nullptr;
  const float* bias = nullptr;  // [columns]
  std::int64_t depth = 0;
  std::int64_t columns = 0;

  // The product of `rows` rows with it; the caller says where to.
  cpu::Gemm gemm(std::int64_t rows, const void* a, std::ptrdiff_t a_stride) const noexcept;
};
struct PackedNorm {
  const float* weight = nullptr;  // [size]
  const float* bias = nullptr;    // [size]
  std::int64_t size = 0;
  double eps = 0;

  cpu::LayerNorm norm(std::int64_t rows, const float* x, std::ptrdiff_t x_stride) const noexcept;
};

// The weights of a plan, packed for one table of kernels, in one piece of memory and in the order
// that they are added, which should be that of their use.
class WeightArena {
 public:
  // `fill` adds the weights; it is called twice, first to measure.
  template <typename Fill>
  WeightArena(const cpu::Kernels& kernels, const Fill& fill) : kernels_(&kernels) {
    fill(*this);
    allocate();
    fill(*this);
  }

  PackedLinear add(const LinearWeights& linear);
  PackedNorm add(const NormWeights& norm);
  const float* add(const at::Tensor& values);  // of floats

 private:
  void allocate();
  std::byte* take(std::size_t bytes);  // null while measuring

  const cpu::Kernels* kernels_;
  cpu::AlignedBytes memory_;
  std::size_t taken_ = 0;
};

}  // namespace bifocal::nn
