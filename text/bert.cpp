#include "text/bert.h"

#include <torch/nn/modules/container/modulelist.h>

#include "bert_weights.h"
#include "nn/linear.h"

namespace bifocal::text {

BertEmbeddingsImpl::BertEmbeddingsImpl(const BertConfig& config) {
  const std::int64_t size = config.hidden_size;
  // Zeros: a table is read from a checkpoint.
  const auto table = [&](const char* name, std::int64_t rows) {
    return register_module(
        name, torch::nn::Embedding(
                  torch::nn::EmbeddingOptions(rows, size)._weight(nn::zero_weight({rows, size}))));
  };
  word = table("word", config.vocab_size);
  position = table("position", config.max_position_embeddings);
  token_type = table("token_type", config.type_vocab_size);
  norm = register_module(
      "norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({size}).eps(config.layer_norm_eps)));
}

BertImpl::BertImpl(const BertConfig& config) : config_(config) {
  embeddings_ = register_module("embeddings", BertEmbeddings(config));
  const auto layers = register_module("layers", torch::nn::ModuleList());
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(config.layer());
    layers->push_back(layers_.back());
  }
}

at::Tensor BertImpl::forward(const at::Tensor& ids, const at::Tensor& type_ids,
                             const at::Tensor& valid) const {
  return weights().forward(config_, ids, type_ids, valid);
}

CompiledBert BertImpl::compile(nn::Precision precision) const {
  return CompiledBert(config_, weights(), precision);
}

BertWeights BertImpl::weights() const {
  BertWeights weights{embeddings_->word->weight,
                      embeddings_->position->weight,
                      embeddings_->token_type->weight,
                      nn::weights_of(embeddings_->norm),
                      {},
                      is_training() ? config_.hidden_dropout_prob : 0.0};
  for (const nn::EncoderLayer& layer : layers_) weights.layers.push_back(layer->weights());
  return weights;
}

}  // namespace bifocal::text
