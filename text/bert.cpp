#include "text/bert.h"

#include <torch/nn/modules/container/modulelist.h>

#include "bert_weights.h"

namespace bifocal::text {

BertEmbeddingsImpl::BertEmbeddingsImpl(const BertConfig& config) {
  const std::int64_t size = config.hidden_size;
  word = register_module("word", torch::nn::Embedding(config.vocab_size, size));
  position =
      register_module("position", torch::nn::Embedding(config.max_position_embeddings, size));
  token_type = register_module("token_type", torch::nn::Embedding(config.type_vocab_size, size));
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
