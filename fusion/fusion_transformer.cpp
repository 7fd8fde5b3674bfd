#include "fusion/fusion_transformer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/nn/modules/container/modulelist.h>

#include <cmath>
#include <random>
#include <string>
#include <string_view>

#include "fusion_weights.h"

namespace bifocal::fusion {
namespace {

constexpr double kInitialGain = 0.1;
constexpr double kInitialScale = 1 / 0.07;
constexpr double kInitialMatchScale = 20;
constexpr double kInitialAttentionScale = 10;  // of the late interaction

// FNV-1a: each weight has a stream of its own, so that adding a head leaves the others as they are.
std::uint64_t hash_of(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  }
  return hash;
}

// A normal variate cut at two deviations: a sum of twelve uniforms, whose arithmetic is exact.
// std::normal_distribution differs by library, and log and cos in the last bit by machine.
double truncated_normal(std::mt19937_64& random) {
  while (true) {
    std::uint64_t sum = 0;
    for (int i = 0; i < 6; ++i) {
      const std::uint64_t two_uniforms = random();
      sum += (two_uniforms >> 32) + (two_uniforms & 0xffffffffu);
    }
    const double value = std::ldexp(static_cast<double>(sum), -32) - 6;
    if (std::abs(value) <= 2) return value;
  }
}

void fill_truncated_normal(at::Tensor& weight, double deviation, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  float* values = weight.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < weight.numel(); ++i) {
    values[i] = static_cast<float>(deviation * truncated_normal(random));
  }
}

}  // namespace

FusionTransformerImpl::FusionTransformerImpl(const FusionConfig& config) : config_(config) {
  const std::int64_t d = config.hidden_size;
  const std::int64_t e = config.embedding_size;
  vision_projection_ = register_module(
      "vision_projection",
      Projection(config.token_channels(), d, config.layer_norm_eps, config.dropout));
  text_projection_ = register_module(
      "text_projection",
      Projection(config.text_hidden_size, d, config.layer_norm_eps, config.dropout));
  fusion_token_ = register_parameter("fusion_token", at::zeros({d}));
  vision_type_ = register_parameter("vision_type", at::zeros({d}));
  text_type_ = register_parameter("text_type", at::zeros({d}));
  vision_position_ =
      register_parameter("vision_position", at::zeros({config.grid_height * config.grid_width, d}));
  const auto layers = register_module("layers", torch::nn::ModuleList());
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    layers_.emplace_back(config.layer());
    layers->push_back(layers_.back());
  }
  if (config.norm == nn::NormPlacement::kPre) {
    final_norm_ = register_module(
        "final_norm",
        torch::nn::LayerNorm(torch::nn::LayerNormOptions({d}).eps(config.layer_norm_eps)));
  }
  embedding_head_ = register_module("embedding_head", nn::Linear(d, e));
  match_head_ = register_module("match_head",
                                nn::Mlp(config.match_features(), d, 1, nn::Activation::kGeluErf));
  class_heads_ = register_module("class_heads", ClassHeads(config));
  if (config.skip) {
    pooled_vision_ = register_module(
        "pooled_vision",
        Projection(config.vision_channels, e, config.layer_norm_eps, config.pooled_dropout));
    pooled_text_ = register_module(
        "pooled_text",
        Projection(config.text_hidden_size, e, config.layer_norm_eps, config.pooled_dropout));
    pooled_mix_ = register_parameter("pooled_mix", at::ones({2}));
    residual_gain_ = register_parameter("residual_gain", at::full({3}, kInitialGain));
    if (config.match_cosine)
      match_scale_ = register_parameter("match_scale", at::full({}, kInitialMatchScale));
  }
  if (config.match_late_interaction) {
    late_attention_scale_ =
        register_parameter("late_attention_scale", at::full({}, std::log(kInitialAttentionScale)));
    late_gain_ = register_parameter("late_gain", at::zeros({}));
  }
  logit_scale_ = register_parameter("logit_scale", at::full({}, std::log(kInitialScale)));
}

FusionOutput FusionTransformerImpl::forward(const FusionInput& input) const {
  return weights().forward(config_, input);
}

at::Tensor FusionTransformerImpl::match(const FusionOutput& both) const {
  return weights().match(config_, both);
}

at::Tensor FusionTransformerImpl::classify(const FusionOutput& output,
                                           std::size_t label_set) const {
  return weights().classify(config_, output, label_set);
}

at::Tensor FusionTransformerImpl::own_image_vector(const at::Tensor& pooled) const {
  return own_vector(pooled_vision_->weights(), pooled);
}

at::Tensor FusionTransformerImpl::own_text_vector(const at::Tensor& pooled) const {
  return own_vector(pooled_text_->weights(), pooled);
}

at::Tensor FusionTransformerImpl::late_match(const FusionInput& both) const {
  return weights().late_match(config_, both);
}

at::Tensor FusionTransformerImpl::late_match_of_all(const at::Tensor& image_tokens,
                                                    const at::Tensor& text_tokens,
                                                    const at::Tensor& text_valid) const {
  const FusionWeights all = weights();
  return all.late_match(all.late_interaction_of_all(all.vision_projection.forward(image_tokens),
                                                    all.text_projection.forward(text_tokens),
                                                    text_valid));
}

CompiledFusionTransformer FusionTransformerImpl::compile(nn::Precision precision) const {
  return CompiledFusionTransformer(config_, weights(), precision);
}

FusionWeights FusionTransformerImpl::weights() const {
  FusionWeights weights;
  weights.vision_projection = vision_projection_->weights();
  weights.text_projection = text_projection_->weights();
  weights.fusion_token = fusion_token_;
  weights.vision_type = vision_type_;
  weights.text_type = text_type_;
  weights.vision_position = vision_position_;
  for (const nn::EncoderLayer& layer : layers_) weights.layers.push_back(layer->weights());
  if (final_norm_) weights.final_norm = nn::weights_of(final_norm_);
  weights.embedding_head = nn::weights_of(embedding_head_);
  weights.match_head = match_head_->weights();
  weights.class_heads = class_heads_->weights();
  if (config_.skip) {
    weights.pooled_vision = pooled_vision_->weights();
    weights.pooled_text = pooled_text_->weights();
    weights.pooled_mix = pooled_mix_;
    weights.residual_gain = residual_gain_;
    weights.match_scale = match_scale_;
  }
  weights.late_attention_scale = late_attention_scale_;
  weights.late_gain = late_gain_;
  return weights;
}

void initialise(FusionTransformerImpl& module, std::uint64_t seed) {
  constexpr double kDeviation = 0.02;
  const bool added_to = module.config().match_cosine || module.config().match_late_interaction;
  const c10::NoGradGuard no_grad;
  for (auto& parameter : module.named_parameters()) {
    const std::string& name = parameter.key();
    at::Tensor& weight = parameter.value();
    if (name == "logit_scale") {
      weight.fill_(std::log(kInitialScale));
    } else if (name == "match_scale") {
      weight.fill_(kInitialMatchScale);
    } else if (name == "late_attention_scale") {
      weight.fill_(std::log(kInitialAttentionScale));
    } else if (name == "late_gain" || (name == "match_head.fc2.weight" && added_to)) {
      weight.zero_();
    } else if (name == "residual_gain") {
      weight.fill_(kInitialGain);
    } else if (name == "pooled_mix" || name.ends_with("norm.weight")) {
      weight.fill_(1);
    } else if (name.ends_with(".bias")) {
      weight.zero_();
    } else {
      fill_truncated_normal(weight, kDeviation, seed ^ hash_of(name));
    }
  }
}

}  // namespace bifocal::fusion
