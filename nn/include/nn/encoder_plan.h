#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "nn/cpu/kernels.h"
#include "nn/encoder_layer_weights.h"
#include "nn/weight_arena.h"

namespace bifocal::nn {

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
