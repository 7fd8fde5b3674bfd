#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "nn/weights.h"
#include "training/aligned_start.h"
#include "training/random.h"

namespace bifocal::training {
namespace {

constexpr double kLeastDeviation = 1e-3;
constexpr double kTokenDeviation = 0.7;  // of a channel of projected tokens
constexpr double kAttentionGain = 1.2;   // of queries and keys
constexpr double kLateGain = 0.5;
constexpr std::int64_t kWaves = 3;  // of position, along each side of the map
constexpr double kWaveSize = 2;     // beside a token's, which is kTokenDeviation * sqrt(d)

// The norm's affine part and the linear layer, so that projected tokens have the leading principal
// components of the standardised channels, each with the same deviation.
void standardise(const nn::StateDict& weights, const std::string& projection,
                 const at::Tensor& tokens, double eps) {
  const std::int64_t channels = tokens.size(1);
  const at::Tensor normed = at::layer_norm(tokens, {channels}, {}, {}, eps);  // [n, channels]
  const at::Tensor mean = normed.mean(0);
  const at::Tensor deviation = (normed - mean).pow(2).mean(0).sqrt() + kLeastDeviation;
  const at::Tensor standard = ((normed - mean) / deviation).to(at::kDouble);
  at::Tensor norm_weight = weights.at(projection + ".norm.weight");
  at::Tensor norm_bias = weights.at(projection + ".norm.bias");
  norm_weight.copy_(deviation.reciprocal());
  norm_bias.copy_(-mean / deviation);
  at::Tensor dense = weights.at(projection + ".dense.weight");  // [d, channels]
  const std::int64_t rank = std::min({dense.size(0), channels, tokens.size(0) - 1});
  const at::Tensor covariance =
      at::matmul(standard.t(), standard) / static_cast<double>(standard.size(0));
  const auto [values, vectors] = at::linalg_eigh(covariance, "L");  // ascending
  const at::Tensor leading = values.slice(0, channels - rank).flip(0);
  const at::Tensor directions = vectors.slice(1, channels - rank).flip(1).t();  // [rank, channels]
  // A component that the data does not have is not blown up into noise.
  const at::Tensor size = leading.clamp_min(leading.max() * 1e-4).sqrt().unsqueeze(1);
  // The sign of a principal component is arbitrary: that of its largest entry is made positive.
  const at::Tensor largest = directions.gather(1, directions.abs().argmax(1, true));
  dense.zero_();
  dense.slice(0, 0, rank).copy_(directions * largest.sign() / size * kTokenDeviation);
  at::Tensor(weights.at(projection + ".dense.bias")).zero_();
}

constexpr std::uint64_t kPositionStream = 1 << 20;  // apart from those of the layers

// An orthogonal matrix [size, size] of the seed.
at::Tensor rotation(std::int64_t size, Random random) {
  std::vector<double> values(static_cast<std::size_t>(size * size));
  for (double& value : values)
    for (int i = 0; i < 12; ++i) value += random.uniform() - 0.5;
  const at::Tensor drawn = at::tensor(values, at::kDouble).reshape({size, size});
  return std::get<0>(at::linalg_qr(drawn)).to(at::kFloat);
}

}  // namespace

void standardise_tokens(fusion::FusionTransformerImpl& fusion, const at::Tensor& image_tokens,
                        const at::Tensor& text_tokens) {
  const c10::NoGradGuard no_grad;
  const nn::StateDict weights = nn::state_dict_of(fusion);
  const double eps = fusion.config().layer_norm_eps;
  standardise(weights, "vision_projection", image_tokens, eps);
  standardise(weights, "text_projection", text_tokens, eps);
}

void place_positions(fusion::FusionTransformerImpl& fusion, std::uint64_t seed) {
  const c10::NoGradGuard no_grad;
  const fusion::FusionConfig& config = fusion.config();
  const auto waves = [](std::int64_t size) {  // [size, kWaves], a column's mean square being 1
    const at::Tensor place = (at::arange(size, at::kFloat) + 0.5) / static_cast<double>(size);
    const at::Tensor number = at::arange(1, kWaves + 1, at::kFloat);
    return at::cos(place.unsqueeze(1) * number * std::numbers::pi) * std::numbers::sqrt2;
  };
  const std::int64_t height = config.grid_height, width = config.grid_width;
  const at::Tensor down = waves(height).unsqueeze(1).expand({height, width, kWaves});
  const at::Tensor across = waves(width).unsqueeze(0).expand({height, width, kWaves});
  const std::int64_t directions = std::min(2 * kWaves, config.hidden_size);
  const at::Tensor position =
      at::cat({down, across}, -1).flatten(0, 1).narrow(1, 0, directions);  // [h * w, directions]
  const at::Tensor turn = rotation(config.hidden_size, Random(seed, kPositionStream));
  at::Tensor weight = nn::state_dict_of(fusion).at("vision_position");
  weight.copy_(at::matmul(position, turn.narrow(0, 0, directions)) * kWaveSize);
}

void open_late_interaction(fusion::FusionTransformerImpl& fusion) {
  const c10::NoGradGuard no_grad;
  at::Tensor gain = nn::state_dict_of(fusion).at("late_gain");
  gain.fill_(kLateGain);
}

void align_attention(fusion::FusionTransformerImpl& fusion, std::uint64_t seed) {
  const c10::NoGradGuard no_grad;
  const nn::StateDict weights = nn::state_dict_of(fusion);
  const std::int64_t size = fusion.config().hidden_size;
  for (std::int64_t i = 0; i < fusion.config().num_hidden_layers; ++i) {
    const std::string attention = "layers." + std::to_string(i) + ".attention";
    // Turned, so that each head compares a share of every direction.
    const at::Tensor turn = rotation(size, Random(seed, static_cast<std::uint64_t>(i)));
    at::Tensor qkv = weights.at(attention + ".qkv.weight");
    at::Tensor out = weights.at(attention + ".out.weight");
    qkv.add_(at::cat({turn * kAttentionGain, turn * kAttentionGain, turn}));
    out.add_(turn.t());
  }
}

}  // namespace bifocal::training
