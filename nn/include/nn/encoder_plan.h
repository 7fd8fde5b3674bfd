#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nn/cpu/kernels.h"
#include "nn/cpu/memory.h"
#include "nn/encoder_layer_weights.h"

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

// The encoder layers of one model, compiled: no allocation (but a thread's first pass of a size)
// and no dispatch of operators in a pass. Sequences lie end to end, without padding: sequence i has
// rows offsets[i] to offsets[i + 1] of x, and offsets[0] is 0. The bits of a row depend on its own
// sequence alone. Immutable; thread-safe.
class EncoderPlan {
 public:
  // The weights are copied. All layers have one size.
  EncoderPlan(std::span<const EncoderLayerWeights> layers, const cpu::Kernels& kernels);

  // x [offsets.back(), d], `stride` floats from row to row: in place.
  void forward(std::span<const std::int64_t> offsets, float* x, std::ptrdiff_t stride) const;
  // The output of each sequence's first row alone -> [sequences, d], d floats from row to row; no
  // sequence is empty. x is used up.
  void forward_first(std::span<const std::int64_t> offsets, float* x, std::ptrdiff_t stride,
                     float* first) const;

  std::int64_t hidden_size() const noexcept { return hidden_size_; }
  const cpu::Kernels& kernels() const noexcept { return *kernels_; }

 private:
  struct Layer {
    PackedNorm attention_norm;
    PackedLinear qkv, out;
    PackedNorm mlp_norm;
    PackedLinear fc1, fc2;
    std::int64_t heads = 1;
    Activation activation = Activation::kGeluErf;
    NormPlacement norm = NormPlacement::kPost;
  };
  class Runner;

  const cpu::Kernels* kernels_;
  std::int64_t hidden_size_ = 0;
  std::vector<Layer> layers_;
  WeightArena weights_;
};

}  // namespace bifocal::nn
