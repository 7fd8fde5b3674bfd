#pragma once
// Random fusion layers and inputs for property tests.

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <random>
#include <vector>

#include "fusion/fusion_transformer.h"
#include "nn/pooling.h"

namespace bifocal::fusion {

inline double relative_error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)).item<double>();
}

// Weights at which every term of the model counts.
inline void randomise(torch::nn::Module& module) {
  const c10::NoGradGuard no_grad;
  for (auto& parameter : module.named_parameters()) {
    auto& tensor = parameter.value();
    if (parameter.key().starts_with("late_")) {  // sizes of a trained layer: draws nothing
      tensor.fill_(0.5);
      continue;
    }
    const double size =
        tensor.dim() == 2 ? 2.0 / std::sqrt(static_cast<double>(tensor.size(1))) : 0.3;
    const bool near_one = parameter.key().ends_with("norm.weight") ||
                          parameter.key() == "pooled_mix" || parameter.key() == "residual_gain";
    tensor.copy_(at::randn(tensor.sizes()) * size + (near_one ? 1.0 : 0.0));
  }
}

inline FusionInput random_input(const FusionConfig& config, std::int64_t batch, std::int64_t height,
                                std::int64_t width, const std::vector<std::int64_t>& text_lengths,
                                std::int64_t longest) {
  FusionInput input;
  input.grid_height = height;
  input.grid_width = width;
  input.vision_tokens = at::randn({batch, height * width, config.token_channels()});
  input.vision_pooled = input.vision_tokens.slice(2, 0, config.vision_channels).mean(1);
  input.text_tokens = at::randn({batch, longest, config.text_hidden_size});
  input.text_valid = at::arange(longest).unsqueeze(0) < at::tensor(text_lengths).unsqueeze(1);
  input.text_pooled = nn::pool(input.text_tokens, input.text_valid, nn::Pooling::kMean);
  return input;
}

inline FusionInput without_image(FusionInput input) {
  input.vision_tokens = at::Tensor();
  input.vision_pooled = at::Tensor();
  return input;
}

inline FusionInput without_text(FusionInput input) {
  input.text_tokens = at::Tensor();
  input.text_pooled = at::Tensor();
  input.text_valid = at::Tensor();
  return input;
}

// Calls `check(fusion, input)` for random configs of both norms, with and without a skip, and
// random grids and padded texts, in eval mode.
void for_each_fusion(const auto& check) {
  at::manual_seed(17);
  std::mt19937 random(23);
  const auto between = [&](std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random);
  };
  const c10::NoGradGuard no_grad;
  for (int i = 0; i < 16; ++i) {
    FusionConfig config;
    config.num_attention_heads = between(1, 4);
    config.hidden_size = config.num_attention_heads * between(8, 16);
    config.skip = i % 2 == 0;
    config.match_cosine = i % 8 == 0;
    config.match_late_interaction = i % 3 == 0;
    config.norm = i % 4 < 2 ? nn::NormPlacement::kPre : nn::NormPlacement::kPost;
    config.embedding_size = config.skip ? between(8, 40) : config.hidden_size;
    config.num_hidden_layers = between(1, 3);
    config.intermediate_size = between(3, 50);
    config.vision_channels = between(8, 40);
    config.detail_stage = i > 10 ? 1 : 0;
    config.detail_channels = i > 10 ? i : 0;
    config.text_hidden_size = between(8, 30);
    config.grid_height = between(1, 5);
    config.grid_width = between(1, 5);
    config.label_sets = {{"kind", {"a", "b", "c"}},
                         {.name = "wide", .labels = {"x", "y"}, .pooled = true},
                         {.name = "deep", .labels = {"p", "q"}, .pooled = true, .hidden_size = 7}};
    FusionTransformer fusion(config);
    randomise(*fusion);
    fusion->eval();
    const std::int64_t batch = between(1, 4);
    const std::int64_t longest = between(1, 12);
    std::vector<std::int64_t> lengths;
    for (std::int64_t b = 0; b < batch; ++b) lengths.push_back(between(1, longest));
    check(fusion, random_input(config, batch, between(1, 6), between(1, 6), lengths, longest));
  }
}

}  // namespace bifocal::fusion
