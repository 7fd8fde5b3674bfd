#include "fusion_plan.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "nn/cpu/memory.h"
#include "nn/cpu/steps.h"

namespace bifocal::fusion {
namespace {

namespace cpu = nn::cpu;

std::int64_t valid_tokens(const at::Tensor& valid, std::int64_t item) {
  const std::int64_t length = valid.size(1);
  const bool* row = valid.const_data_ptr<bool>() + item * length;
  return std::count(row, row + length, true);
}

// Moves the valid rows of one text, [L, H] with `valid` [L], to the front of `out`.
void gather(const float* tokens, const bool* valid, std::int64_t length, std::int64_t size,
            float* out) {
  for (std::int64_t i = 0; i < length; ++i) {
    if (!valid[i]) continue;
    std::memcpy(out, tokens + i * size, static_cast<std::size_t>(size) * sizeof(float));
    out += size;
  }
}

}  // namespace

FusionPlan::FusionPlan(const FusionConfig& config, const FusionWeights& weights,
                       const cpu::Kernels& kernels)
    : hidden_size_(config.hidden_size),
      has_final_norm_(config.norm == nn::NormPlacement::kPre),
      tables_(kernels,
              [&](nn::WeightArena& arena) {
                vision_ = {arena.add(weights.vision_projection.norm),
                           arena.add(weights.vision_projection.dense)};
                text_ = {arena.add(weights.text_projection.norm),
                         arena.add(weights.text_projection.dense)};
                fusion_token_ = arena.add(weights.fusion_token);
                text_type_ = arena.add(weights.text_type);
                if (has_final_norm_) final_norm_ = arena.add(weights.final_norm);
              }),
      layers_(weights.layers, kernels) {}

at::Tensor FusionPlan::context(const FusionInput& input, const at::Tensor& position,
                               const Projected& projected) const {
  const at::Tensor vision =
      input.vision_tokens.defined() ? input.vision_tokens.contiguous() : at::Tensor();
  const at::Tensor text =
      input.text_tokens.defined() ? input.text_tokens.contiguous() : at::Tensor();
  const at::Tensor valid =
      text.defined() && input.text_valid.defined() ? input.text_valid.contiguous() : at::Tensor();
  const at::Tensor grid = position.defined() ? position.contiguous() : at::Tensor();
  const std::int64_t items = (vision.defined() ? vision : text).size(0);
  const std::int64_t visual = vision.defined() ? vision.size(1) : 0;
  const std::int64_t longest = text.defined() ? text.size(1) : 0;

  std::vector<std::int64_t> offsets = {0};
  for (std::int64_t item = 0; item < items; ++item) {
    const std::int64_t tokens = valid.defined() ? valid_tokens(valid, item) : longest;
    offsets.push_back(offsets.back() + 1 + visual + tokens);
  }
  const std::ptrdiff_t stride = cpu::row_stride(hidden_size_, sizeof(float));
  const auto floats = static_cast<std::size_t>(offsets.back() * stride);
  const auto gathered_floats =
      static_cast<std::size_t>(valid.defined() ? longest * text.size(2) : 0);
  cpu::Scratch scratch(cpu::Scratch::rounded(floats * sizeof(float)) +
                       cpu::Scratch::rounded(gathered_floats * sizeof(float)));
  auto* x = scratch.take<float>(floats);  // [tokens, d]
  auto* gathered = scratch.take<float>(gathered_floats);
  for (std::int64_t item = 0; item < items; ++item) {
    const std::int64_t first = offsets[static_cast<std::size_t>(item)];
    const std::int64_t tokens = offsets[static_cast<std::size_t>(item) + 1] - first - 1 - visual;
    float* to = x + first * stride;
    std::memcpy(to, fusion_token_, static_cast<std::size_t>(hidden_size_) * sizeof(float));
    to += stride;
    const Added cells{grid.defined() ? grid.const_data_ptr<float>() : nullptr, hidden_size_};
    const Added type{text_type_, 0};
    if (visual > 0)
      project(vision_, visual, vision.const_data_ptr<float>() + item * visual * vision.size(2),
              projected ? Added{} : cells, to, stride);
    if (tokens > 0) {
      const float* own = text.const_data_ptr<float>() + item * longest * text.size(2);
      if (valid.defined()) {
        gather(own, valid.const_data_ptr<bool>() + item * longest, longest, text.size(2), gathered);
        own = gathered;
      }
      project(text_, tokens, own, projected ? Added{} : type, to + visual * stride, stride);
    }
    if (!projected) continue;
    if (tokens > 0)
      projected(item, at::from_blob(to, {visual, hidden_size_}, {stride, 1}),
                at::from_blob(to + visual * stride, {tokens, hidden_size_}, {stride, 1}));
    add(cells, visual, to, stride);
    add(type, tokens, to + visual * stride, stride);
  }

  at::Tensor context = at::empty({items, hidden_size_}, at::kFloat);  // [B, d]
  auto* first = context.mutable_data_ptr<float>();
  layers_.forward_first(offsets, x, stride, first);
  if (has_final_norm_) {
    cpu::LayerNorm norm = final_norm_.norm(items, first, hidden_size_);
    norm.out = first;
    norm.out_stride = hidden_size_;
    layers_.kernels().layer_norm(norm);
  }
  return context;
}

void FusionPlan::add(const Added& added, std::int64_t rows, float* x, std::ptrdiff_t stride) const {
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t i = 0; i < hidden_size_; ++i)
      x[row * stride + i] += added.rows[row * added.stride + i];
}

// x = dense(norm(tokens)) + added.
void FusionPlan::project(const Projection& projection, std::int64_t rows, const float* tokens,
                         const Added& added, float* x, std::ptrdiff_t stride) const {
  const cpu::Kernels& kernels = layers_.kernels();
  const std::size_t element = cpu::element_bytes(kernels.precision);
  const std::int64_t size = projection.norm.size;
  const std::ptrdiff_t normed_stride = cpu::row_stride(size, element);
  cpu::Scratch scratch(static_cast<std::size_t>(rows * normed_stride) * element);
  void* normed = scratch.take_bytes(static_cast<std::size_t>(rows * normed_stride) * element);
  cpu::LayerNorm norm = projection.norm.norm(rows, tokens, size);
  norm.narrow_out = normed;
  norm.narrow_stride = normed_stride;
  kernels.layer_norm(norm);
  cpu::Gemm gemm = projection.dense.gemm(rows, normed, normed_stride);
  gemm.residual = added.rows;
  gemm.residual_stride = added.stride;
  gemm.c = x;
  gemm.c_stride = stride;
  cpu::run(kernels, gemm);
}

}  // namespace bifocal::fusion
