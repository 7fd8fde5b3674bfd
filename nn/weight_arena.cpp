#include "nn/weight_arena.h"

#include <cstring>

namespace bifocal::nn {

cpu::Gemm PackedLinear::gemm(std::int64_t rows, const void* a,
                             std::ptrdiff_t a_stride) const noexcept {
  cpu::Gemm gemm;
  gemm.rows = rows;
  gemm.a = a;
  gemm.a_stride = a_stride;
  gemm.weights = weights;
  gemm.depth = depth;
  gemm.columns = columns;
  gemm.bias = bias;
  return gemm;
}

cpu::LayerNorm PackedNorm::norm(std::int64_t rows, const float* x,
                                std::ptrdiff_t x_stride) const noexcept {
  cpu::LayerNorm norm;
  norm.rows = rows;
  norm.size = size;
  norm.x = x;
  norm.x_stride = x_stride;
  norm.weight = weight;
  norm.bias = bias;
  norm.eps = eps;
  return norm;
}

PackedLinear WeightArena::add(const LinearWeights& linear) {
  PackedLinear packed;
  packed.columns = linear.weight().size(0);
  packed.depth = linear.weight().size(1);
  std::byte* to = take(kernels_->packed_bytes(packed.depth, packed.columns));
  if (to != nullptr) {
    const at::Tensor weight = linear.weight().detach().contiguous();
    kernels_->pack(weight.const_data_ptr<float>(), packed.depth, packed.columns, to);
  }
  packed.weights = to;
  packed.bias = add(linear.bias());
  return packed;
}

PackedNorm WeightArena::add(const NormWeights& norm) {
  PackedNorm packed;
  packed.size = norm.weight.size(0);
  packed.eps = norm.eps;
  packed.weight = add(norm.weight);
  packed.bias = add(norm.bias);
  return packed;
}

const float* WeightArena::add(const at::Tensor& values) {
  std::byte* to = take(values.nbytes());
  if (to != nullptr) {
    const at::Tensor from = values.detach().contiguous();
    std::memcpy(to, from.const_data_ptr<float>(), from.nbytes());
  }
  return reinterpret_cast<const float*>(to);
}

void WeightArena::allocate() {
  memory_ = cpu::allocate_aligned(taken_);
  taken_ = 0;
}

std::byte* WeightArena::take(std::size_t bytes) {
  const std::size_t from = taken_;
  taken_ += cpu::Scratch::rounded(bytes);
  return memory_ ? memory_.get() + from : nullptr;
}

}  // namespace bifocal::nn
