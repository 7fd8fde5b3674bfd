#include "text/compiled_bert.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/embedding.h>
#include <c10/core/InferenceMode.h>

#include <string>
#include <utility>
#include <variant>

#include "bert_plan.h"
#include "bert_weights.h"
#include "bifocal/error.h"
#include "nn/kernel_choice.h"

namespace bifocal::text {
namespace {

void check_range(const at::Tensor& ids, std::int64_t rows, std::string_view what) {
  const auto [lowest, highest] = at::aminmax(ids);
  if (lowest.item<std::int64_t>() < 0 || highest.item<std::int64_t>() >= rows) {
    throw Error(ErrorCode::kInvalidArgument,
                std::string(what) + " must be from 0 to " + std::to_string(rows - 1) + "; got " +
                    std::to_string(lowest.item<std::int64_t>()) + " to " +
                    std::to_string(highest.item<std::int64_t>()) +
                    ". Does the tokenizer belong to this model?");
  }
}

void check_input(const BertConfig& config, const at::Tensor& ids, const at::Tensor& type_ids,
                 const at::Tensor& valid) {
  if (ids.dim() != 2 || ids.numel() == 0 || ids.scalar_type() != at::kLong) {
    throw Error(ErrorCode::kInvalidArgument, "Token ids must be int64 of shape [texts, tokens]");
  }
  if (ids.size(1) > config.longest_sequence()) {
    throw Error(ErrorCode::kInvalidArgument, "The text has " + std::to_string(ids.size(1)) +
                                                 " tokens; the encoder reads at most " +
                                                 std::to_string(config.longest_sequence()));
  }
  if ((type_ids.defined() && type_ids.sizes() != ids.sizes()) ||
      (valid.defined() && valid.sizes() != ids.sizes())) {
    throw Error(ErrorCode::kInvalidArgument,
                "Token types and the mask must have the shape of the token ids");
  }
  check_range(ids, config.vocab_size, "Token ids");
  if (type_ids.defined()) check_range(type_ids, config.type_vocab_size, "Token types");
}

// [1, L], or [B, L] with an offset: there transformers counts the tokens that are not padding, and
// gives padding the position of padding_idx (create_position_ids_from_input_ids).
at::Tensor positions_of(const BertConfig& config, const at::Tensor& ids) {
  if (config.position_offset == 0) return at::arange(ids.size(1)).unsqueeze(0);
  const std::int64_t padding = config.position_offset - 1;
  const at::Tensor counted = ids.ne(padding).to(at::kLong);
  return counted.cumsum(1) * counted + padding;
}

}  // namespace

at::Tensor BertWeights::forward(const BertConfig& config, const at::Tensor& ids,
                                const at::Tensor& type_ids, const at::Tensor& valid) const {
  check_input(config, ids, type_ids, valid);
  const at::Tensor types = type_ids.defined() ? at::embedding(token_type, type_ids) : token_type[0];
  at::Tensor x = norm.forward(at::embedding(word, ids) + types +
                              at::embedding(position, positions_of(config, ids)));  // [B, L, H]
  if (dropout > 0) x = at::dropout(x, dropout, /*train=*/true);
  for (const nn::EncoderLayerWeights& layer : layers) x = layer.forward(x, valid);
  return x;
}

BertWeights BertWeights::compiled(nn::Precision precision) const {
  BertWeights copy{word.detach().clone(),
                   position.detach().clone(),
                   token_type.detach().clone(),
                   norm.compiled(),
                   {},
                   0.0};
  for (const nn::EncoderLayerWeights& layer : layers) {
    copy.layers.push_back(layer.compiled(precision));
  }
  return copy;
}

struct CompiledBert::Packed {
  BertConfig config;
  std::variant<BertPlan, BertWeights> model;  // the second where LibTorch's operators serve
};

CompiledBert::CompiledBert(const BertConfig& config, const BertWeights& weights,
                           nn::Precision precision) {
  const c10::InferenceMode inference;
  const nn::cpu::Kernels* kernels =
      nn::choose_kernels(precision, config.hidden_size, config.intermediate_size);
  packed_ = kernels != nullptr
                ? std::make_unique<const Packed>(config, BertPlan(config, weights, *kernels))
                : std::make_unique<const Packed>(config, weights.compiled(precision));
}
CompiledBert::~CompiledBert() = default;
CompiledBert::CompiledBert(CompiledBert&&) noexcept = default;
CompiledBert& CompiledBert::operator=(CompiledBert&&) noexcept = default;

at::Tensor CompiledBert::forward(const at::Tensor& ids, const at::Tensor& type_ids,
                                 const at::Tensor& valid) const {
  const c10::InferenceMode inference;
  if (const auto* plan = std::get_if<BertPlan>(&packed_->model)) {
    check_input(packed_->config, ids, type_ids, valid);
    return plan->forward(ids, type_ids, valid);
  }
  return std::get<BertWeights>(packed_->model).forward(packed_->config, ids, type_ids, valid);
}

}  // namespace bifocal::text
