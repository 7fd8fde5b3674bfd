#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>

#include "nn/cpu/kernels.h"
#include "nn/linear_weights.h"
#include "nn/packed_weights.h"

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
// that they are added, which should be that of their use. Within a PackedWeights::Scope the memory
// may be of a file, with everything in it; weights that lie in a file of their own are then never
// looked at.
class WeightArena {
 public:
  // `fill` adds the weights; it is called twice, first to measure.
  template <typename Fill>
  WeightArena(const cpu::Kernels& kernels, const Fill& fill) : kernels_(&kernels) {
    fill(*this);
    begin();
    fill(*this);
    end();
  }

  PackedLinear add(const LinearWeights& linear);
  PackedNorm add(const NormWeights& norm);
  const float* add(const at::Tensor& values);  // of floats
  // The same of what has to be made first, where it is not in the file already.
  PackedLinear add(std::int64_t depth, std::int64_t columns,
                   const std::function<LinearWeights()>& make);
  const float* add(std::int64_t count, const std::function<at::Tensor()>& make);

 private:
  void begin();
  void end();
  std::size_t take(std::size_t bytes);  // from where; nothing is there while measuring
  template <typename T>
  const T* at(std::size_t from) const noexcept {
    return reinterpret_cast<const T*>(memory_ ? memory_.get() + from : nullptr);
  }

  const cpu::Kernels* kernels_;
  PackedWeights::Memory memory_;  // null while measuring
  std::byte* packing_ = nullptr;  // the same where it is to be filled
  std::size_t taken_ = 0;
};

}  // namespace bifocal::nn
