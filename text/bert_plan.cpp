#include "bert_plan.h"

#include <ATen/ops/zeros.h>

#include <cstring>
#include <vector>

#include "nn/cpu/memory.h"

namespace bifocal::text {
namespace {

namespace cpu = nn::cpu;

// The valid tokens of a batch, text after text.
struct PackedTokens {
  std::vector<std::int64_t> offsets;  // [texts + 1]
  std::vector<std::int64_t> cells;    // in [B, L], of each token
};

PackedTokens pack(const at::Tensor& ids, const at::Tensor& valid) {
  PackedTokens packed;
  packed.offsets.reserve(static_cast<std::size_t>(ids.size(0)) + 1);
  packed.cells.reserve(static_cast<std::size_t>(ids.numel()));
  const bool* kept = valid.defined() ? valid.const_data_ptr<bool>() : nullptr;
  packed.offsets.push_back(0);
  for (std::int64_t cell = 0; cell < ids.numel(); ++cell) {
    if (kept == nullptr || kept[cell]) packed.cells.push_back(cell);
    if ((cell + 1) % ids.size(1) == 0)
      packed.offsets.push_back(static_cast<std::int64_t>(packed.cells.size()));
  }
  return packed;
}

// Of every cell of [B, L]: with an offset as transformers counts, by the tokens that are not
// padding (create_position_ids_from_input_ids).
std::vector<std::int64_t> positions_of(const BertConfig& config, const at::Tensor& ids) {
  const std::int64_t padding = config.position_offset - 1;
  const auto* id = ids.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> positions(static_cast<std::size_t>(ids.numel()));
  std::int64_t counted = 0;
  for (std::int64_t cell = 0; cell < ids.numel(); ++cell) {
    const std::int64_t column = cell % ids.size(1);
    if (column == 0) counted = 0;
    std::int64_t& position = positions[static_cast<std::size_t>(cell)];
    if (config.position_offset == 0) {
      position = column;
    } else {
      position = id[cell] == padding ? padding : ++counted + padding;
    }
  }
  return positions;
}

}  // namespace

BertPlan::BertPlan(const BertConfig& config, const BertWeights& weights,
                   const cpu::Kernels& kernels)
    : config_(config),
      tables_(kernels,
              [&](nn::WeightArena& arena) {
                word_ = arena.add(weights.word);
                position_ = arena.add(weights.position);
                token_type_ = arena.add(weights.token_type);
                norm_ = arena.add(weights.norm);
              }),
      layers_(weights.layers, kernels) {}

at::Tensor BertPlan::forward(const at::Tensor& ids, const at::Tensor& type_ids,
                             const at::Tensor& valid) const {
  const std::int64_t size = config_.hidden_size;
  at::Tensor states = at::zeros({ids.size(0), ids.size(1), size}, at::kFloat);  // [B, L, H]
  const at::Tensor cells = ids.contiguous();
  const at::Tensor types = type_ids.defined() ? type_ids.to(at::kLong).contiguous() : type_ids;
  const PackedTokens tokens = pack(cells, valid.defined() ? valid.contiguous() : valid);
  if (tokens.cells.empty()) return states;
  const auto count = static_cast<std::int64_t>(tokens.cells.size());
  const std::vector<std::int64_t> positions = positions_of(config_, cells);

  const std::ptrdiff_t stride = cpu::row_stride(size, sizeof(float));
  const auto floats = static_cast<std::size_t>(count * stride);
  cpu::Scratch scratch(floats * sizeof(float));
  auto* x = scratch.take<float>(floats);  // [tokens, H]
  const cpu::Kernels& kernels = layers_.kernels();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t cell = tokens.cells[static_cast<std::size_t>(i)];
    const std::int64_t id = cells.const_data_ptr<std::int64_t>()[cell];
    const std::int64_t type = types.defined() ? types.const_data_ptr<std::int64_t>()[cell] : 0;
    kernels.sum_of_three(word_ + id * size, token_type_ + type * size,
                         position_ + positions[static_cast<std::size_t>(cell)] * size, size,
                         x + i * stride);
  }
  cpu::LayerNorm norm = norm_.norm(count, x, stride);
  norm.out = x;
  norm.out_stride = stride;
  kernels.layer_norm(norm);
  layers_.forward(tokens.offsets, x, stride);
  for (std::int64_t i = 0; i < count; ++i)
    std::memcpy(states.mutable_data_ptr<float>() + tokens.cells[static_cast<std::size_t>(i)] * size,
                x + i * stride, static_cast<std::size_t>(size) * sizeof(float));
  return states;
}

}  // namespace bifocal::text
