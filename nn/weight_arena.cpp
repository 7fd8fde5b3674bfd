#include "nn/weight_arena.h"

#include <cstring>

#include "nn/cpu/memory.h"

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

PackedLinear WeightArena::add(std::int64_t depth, std::int64_t columns,
                              const std::function<LinearWeights()>& make) {
  const std::size_t weights = take(kernels_->packed_bytes(depth, columns));
  const std::size_t bias = take(static_cast<std::size_t>(columns) * sizeof(float));
  if (packing_ != nullptr) {
    const LinearWeights linear = make();
    const at::Tensor weight = linear.weight().detach().contiguous();
    kernels_->pack(weight.const_data_ptr<float>(), depth, columns, packing_ + weights);
    const at::Tensor shift = linear.bias().detach().contiguous();
    std::memcpy(packing_ + bias, shift.const_data_ptr<float>(), shift.nbytes());
  }
  PackedLinear packed;
  packed.columns = columns;
  packed.depth = depth;
  packed.weights = at<std::byte>(weights);
  packed.bias = at<float>(bias);
  return packed;
}

PackedLinear WeightArena::add(const LinearWeights& linear) {
  return add(linear.weight().size(1), linear.weight().size(0), [&linear] { return linear; });
}

PackedNorm WeightArena::add(const NormWeights& norm) {
  PackedNorm packed;
  packed.size = norm.weight.size(0);
  packed.eps = norm.eps;
  packed.weight = add(norm.weight);
  packed.bias = add(norm.bias);
  return packed;
}

const float* WeightArena::add(std::int64_t count, const std::function<at::Tensor()>& make) {
  const std::size_t from = take(static_cast<std::size_t>(count) * sizeof(float));
  if (packing_ != nullptr) {
    const at::Tensor values = make().detach().contiguous();
    std::memcpy(packing_ + from, values.const_data_ptr<float>(), values.nbytes());
  }
  return at<float>(from);
}

const float* WeightArena::add(const at::Tensor& values) {
  return add(values.numel(), [&values] { return values; });
}

void WeightArena::begin() {
  memory_ = PackedWeights::next(*kernels_, taken_);
  if (!memory_) {
    cpu::AlignedBytes packed = cpu::allocate_aligned(taken_);
    packing_ = packed.get();
    memory_ = PackedWeights::Memory(packed.release(), cpu::FreeAligned());
  }
  taken_ = 0;
}

void WeightArena::end() {
  if (packing_ != nullptr) PackedWeights::keep(*kernels_, memory_, taken_);
  packing_ = nullptr;
}

std::size_t WeightArena::take(std::size_t bytes) {
  const std::size_t from = taken_;
  taken_ += cpu::Scratch::rounded(bytes);
  // What lies between two weights is written to a file with them.
  if (packing_ != nullptr) std::memset(packing_ + from, 0, taken_ - from);
  return from;
}

}  // namespace bifocal::nn
