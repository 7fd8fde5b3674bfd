#include "fusion/compiled_fusion_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/upsample_bilinear2d.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "bifocal/error.h"
#include "fusion_plan.h"
#include "fusion_weights.h"
#include "nn/kernel_choice.h"
#include "nn/pooling.h"

namespace bifocal::fusion {
namespace {

// Bring the product and the difference of two vectors of norm 1 to the size of a layer-normed one.
constexpr double kProductScale = 30;
constexpr double kDifferenceScale = 20;
// Of the late interaction, a mean of cosines, in the match logit: at a gain of one half, 10.
constexpr double kLateScale = 20;

Error invalid(std::string message) {
  return Error(ErrorCode::kInvalidArgument, std::move(message));
}

void check_side(const at::Tensor& tokens, const at::Tensor& pooled, std::int64_t token_size,
                std::int64_t size, bool skip, std::string_view side) {
  if (!tokens.defined()) return;
  if (tokens.dim() != 3 || tokens.size(1) == 0 || tokens.size(2) != token_size) {
    throw invalid("The " + std::string(side) + " tokens must have shape [items, tokens, " +
                  std::to_string(token_size) + "]");
  }
  if (skip && (!pooled.defined() || pooled.dim() != 2 || pooled.size(0) != tokens.size(0) ||
               pooled.size(1) != size)) {
    throw invalid("The pooled " + std::string(side) + " must have shape [" +
                  std::to_string(tokens.size(0)) + ", " + std::to_string(size) + "]");
  }
}

}  // namespace

void check_input(const FusionConfig& config, const FusionInput& input) {
  const at::Tensor& vision = input.vision_tokens;
  const at::Tensor& text = input.text_tokens;
  if (!vision.defined() && !text.defined()) {
    throw invalid("An item needs an image or a text");
  }
  check_side(vision, input.vision_pooled, config.token_channels(), config.vision_channels,
             config.skip, "visual");
  check_side(text, input.text_pooled, config.text_hidden_size, config.text_hidden_size, config.skip,
             "text");
  if (vision.defined() && input.vision_cells.defined() &&
      input.vision_cells.sizes() != vision.sizes().slice(0, 2)) {
    throw invalid("The cells of the visual tokens must have shape [items, tokens]");
  }
  if (vision.defined() && !input.vision_cells.defined() &&
      (input.grid_height < 1 || input.grid_width < 1 ||
       vision.size(1) != input.grid_height * input.grid_width)) {
    throw invalid("There are " + std::to_string(vision.size(1)) + " visual tokens for a grid of " +
                  std::to_string(input.grid_height) + " by " + std::to_string(input.grid_width));
  }
  if (vision.defined() && input.vision_rows.defined() && input.vision_rows.dim() != 1) {
    throw invalid("The rows of images must have shape [items]");
  }
  if (vision.defined() && text.defined()) {
    const std::int64_t shown = (input.vision_rows.defined() ? input.vision_rows : vision).size(0);
    if (shown != text.size(0)) {
      throw invalid("There are " + std::to_string(shown) + " images for " +
                    std::to_string(text.size(0)) + " texts");
    }
  }
  if (text.defined() && input.text_valid.defined() &&
      input.text_valid.sizes() != text.sizes().slice(0, 2)) {
    throw invalid("The mask of the text must have shape [items, tokens]");
  }
}

namespace {

// [h * w, d]: the learned grid, bilinearly resized where the map at hand has another.
at::Tensor position_of_map(const FusionConfig& config, const at::Tensor& learned,
                           const FusionInput& input) {
  if (input.grid_height == config.grid_height && input.grid_width == config.grid_width) {
    return learned;
  }
  const std::int64_t size = config.hidden_size;
  const at::Tensor grid =
      learned.t().reshape({1, size, config.grid_height, config.grid_width});  // [1, d, h, w]
  const at::Tensor resized = at::upsample_bilinear2d(grid, {input.grid_height, input.grid_width},
                                                     /*align_corners=*/false);
  return resized.reshape({size, input.grid_height * input.grid_width}).t();
}

}  // namespace

at::Tensor visual_position(const FusionConfig& config, const FusionWeights& weights,
                           const FusionInput& input) {
  const at::Tensor map =
      position_of_map(config, weights.vision_position, input) + weights.vision_type;  // [h * w, d]
  return input.vision_cells.defined() ? at::embedding(map, input.vision_cells) : map;
}

namespace {

// [B, 1 + h * w + L]: false at padded text; undefined where nothing is padded.
at::Tensor valid_of(const FusionInput& input) {
  const at::Tensor& valid = input.text_valid;
  if (!input.text_tokens.defined() || !valid.defined()) return {};
  const std::int64_t before = 1 + (input.vision_tokens.defined() ? input.vision_tokens.size(1) : 0);
  return at::cat({at::ones({valid.size(0), before}, valid.options()), valid}, 1);
}

}  // namespace

at::Tensor ProjectionWeights::forward(const at::Tensor& x) const {
  const at::Tensor normed = norm.forward(x);
  return dense.forward(dropout > 0 ? at::dropout(normed, dropout, /*train=*/true) : normed);
}

ProjectionWeights ProjectionWeights::compiled(nn::Precision precision) const {
  return {norm.compiled(), dense.compiled(precision), 0.0};
}

at::Tensor ClassHeadWeights::forward(const FusionOutput& output) const {
  at::Tensor x = context.forward(output.context);
  if (vision && !output.vision_pooled.defined() && !output.text_pooled.defined())
    throw invalid("The class head reads pooled vectors, and there are none");
  if (vision && output.vision_pooled.defined()) x = x + vision->forward(output.vision_pooled);
  if (text && output.text_pooled.defined()) x = x + text->forward(output.text_pooled);
  return out ? out->forward(nn::activate(x, nn::Activation::kGeluErf)) : x;
}

ClassHeadWeights ClassHeadWeights::compiled(nn::Precision precision) const {
  ClassHeadWeights copy;
  copy.context = context.compiled(precision);
  if (vision) copy.vision = vision->compiled(precision);
  if (text) copy.text = text->compiled(precision);
  if (out) copy.out = out->compiled(precision);
  return copy;
}

namespace {

// [I, ...] of distinct images -> [B, ...] of items.
at::Tensor of_items(const FusionInput& input, const at::Tensor& of_images) {
  return input.vision_rows.defined() ? of_images.index_select(0, input.vision_rows) : of_images;
}

}  // namespace

FusionWeights::ProjectedTokens FusionWeights::project(const FusionInput& input) const {
  ProjectedTokens projected;
  if (input.vision_tokens.defined())
    projected.image = vision_projection.forward(input.vision_tokens);
  if (input.text_tokens.defined()) projected.text = text_projection.forward(input.text_tokens);
  return projected;
}

// [B, 1 + h * w + L, d]: the fusion token, then what is there of image and text.
at::Tensor FusionWeights::tokens(const FusionConfig& config, const FusionInput& input,
                                 const ProjectedTokens& projected) const {
  std::vector<at::Tensor> parts;
  if (projected.image.defined())
    parts.push_back(of_items(input, projected.image + visual_position(config, *this, input)));
  if (projected.text.defined()) parts.push_back(projected.text + text_type);
  const std::int64_t batch = parts.front().size(0);
  parts.insert(parts.begin(), fusion_token.expand({batch, 1, config.hidden_size}));
  return at::cat(parts, 1);
}

// The fusion token's output. Of the last layer only the fusion token's query is needed.
at::Tensor FusionWeights::context(const FusionConfig& config, const FusionInput& input,
                                  const ProjectedTokens& projected) const {
  const at::Tensor valid = valid_of(input);
  at::Tensor x = tokens(config, input, projected);
  for (std::size_t i = 0; i + 1 < layers.size(); ++i) x = layers[i].forward(x, valid);
  const at::Tensor first = layers.back().forward_first(x, valid).squeeze(1);
  return config.norm == nn::NormPlacement::kPre ? final_norm.forward(first) : first;
}

bool has_late_interaction(const FusionConfig& config, const FusionInput& input) {
  return config.match_late_interaction && input.vision_tokens.defined() &&
         input.text_tokens.defined();
}

at::Tensor FusionWeights::found(const at::Tensor& likeness) const {
  return (at::softmax(likeness * late_attention_scale.exp(), -1) * likeness).sum(-1);
}

at::Tensor FusionWeights::late_interaction(const at::Tensor& image, const at::Tensor& text,
                                           const at::Tensor& text_valid) const {
  const at::Tensor of_tokens = found(
      at::matmul(nn::l2_normalize(text), nn::l2_normalize(image).transpose(-2, -1)));  // [B, L]
  return nn::pool(of_tokens.unsqueeze(-1), text_valid, nn::Pooling::kMean).squeeze(-1);
}

at::Tensor FusionWeights::late_interaction_of_all(const at::Tensor& image, const at::Tensor& text,
                                                  const at::Tensor& text_valid) const {
  const std::int64_t images = image.size(0), texts = text.size(0), length = text.size(1);
  const at::Tensor likeness = at::matmul(nn::l2_normalize(text).flatten(0, 1),
                                         nn::l2_normalize(image).flatten(0, 1).t());  // [B L, A n]
  const at::Tensor of_tokens =
      found(likeness.view({texts * length, images, image.size(1)})).view({texts, length, images});
  return nn::pool(of_tokens, text_valid, nn::Pooling::kMean).t();
}

at::Tensor FusionWeights::late_match(const at::Tensor& late_interaction) const {
  return late_interaction * late_gain * kLateScale;
}

at::Tensor FusionWeights::late_interaction(const FusionInput& input,
                                           const ProjectedTokens& projected) const {
  return late_interaction(of_items(input, projected.image), projected.text, input.text_valid);
}

at::Tensor FusionWeights::late_match(const FusionConfig& config, const FusionInput& both) const {
  check_input(config, both);
  if (!has_late_interaction(config, both))
    throw invalid("A late interaction needs an image and a text, and match_late_interaction");
  return late_match(late_interaction(both, project(both)));
}

at::Tensor own_vector(const ProjectionWeights& projection, const at::Tensor& pooled) {
  return nn::l2_normalize(projection.forward(pooled));
}

FusionOutput FusionWeights::forward(const FusionConfig& config, const FusionInput& input) const {
  check_input(config, input);
  const ProjectedTokens projected = project(input);
  FusionOutput output = embed(config, input, context(config, input, projected));
  if (has_late_interaction(config, input))
    output.late_interaction = late_interaction(input, projected);
  return output;
}

FusionOutput FusionWeights::embed(const FusionConfig& config, const FusionInput& input,
                                  at::Tensor context) const {
  FusionOutput output;
  output.context = std::move(context);
  if (input.vision_pooled.defined()) output.vision_pooled = of_items(input, input.vision_pooled);
  output.text_pooled = input.text_pooled;
  const at::Tensor own = nn::l2_normalize(embedding_head.forward(output.context));
  if (!config.skip) {
    output.embedding = own;
    return output;
  }
  const bool image = input.vision_tokens.defined();
  const bool text = input.text_tokens.defined();
  if (image) output.vision = of_items(input, own_vector(pooled_vision, input.vision_pooled));
  if (text) output.text = own_vector(pooled_text, input.text_pooled);
  const at::Tensor skip =
      image && text
          ? (output.vision * pooled_mix[0] + output.text * pooled_mix[1]) / std::numbers::sqrt2
          : (image ? output.vision : output.text);
  const at::Tensor gain = residual_gain[image && text ? 2 : (image ? 0 : 1)];
  output.embedding = nn::l2_normalize(skip + own * gain);
  return output;
}

at::Tensor FusionWeights::match(const FusionConfig& config, const FusionOutput& both) const {
  at::Tensor features = both.context;
  if ((config.skip && (!both.vision.defined() || !both.text.defined())) ||
      (config.match_late_interaction && !both.late_interaction.defined()))
    throw invalid("A match needs an image and a text");
  if (config.skip) {
    features = at::cat({features, both.vision * both.text * kProductScale,
                        (both.vision - both.text).abs() * kDifferenceScale},
                       -1);
  }
  at::Tensor logit = match_head.forward(features).squeeze(-1);
  if (config.match_cosine) logit = logit + match_scale * (both.vision * both.text).sum(-1);
  if (config.match_late_interaction) logit = logit + late_match(both.late_interaction);
  return logit;
}

at::Tensor FusionWeights::classify(const FusionConfig& config, const FusionOutput& output,
                                   std::size_t label_set) const {
  if (label_set >= class_heads.size()) {
    throw Error(ErrorCode::kNotFound, "There is no label set " + std::to_string(label_set) +
                                          "; the model has " +
                                          std::to_string(config.label_sets.size()));
  }
  return class_heads[label_set].forward(output);
}

FusionWeights FusionWeights::compiled(const FusionConfig& config, nn::Precision precision) const {
  FusionWeights copy = compiled_heads(config, precision);
  copy.vision_projection = vision_projection.compiled(precision);
  copy.text_projection = text_projection.compiled(precision);
  copy.fusion_token = fusion_token.detach().clone();
  copy.text_type = text_type.detach().clone();
  for (const nn::EncoderLayerWeights& layer : layers) {
    copy.layers.push_back(layer.compiled(precision));
  }
  if (config.norm == nn::NormPlacement::kPre) copy.final_norm = final_norm.compiled();
  return copy;
}

FusionWeights FusionWeights::compiled_heads(const FusionConfig& config,
                                            nn::Precision of_layers) const {
  const nn::Precision precision = nn::unquantised(of_layers);
  FusionWeights copy;
  copy.vision_type = vision_type.detach().clone();
  copy.vision_position = vision_position.detach().clone();
  copy.embedding_head = embedding_head.compiled(precision);
  copy.match_head = match_head.compiled(precision);
  for (const ClassHeadWeights& head : class_heads) {
    copy.class_heads.push_back(head.compiled(precision));
  }
  if (config.skip) {
    copy.pooled_vision = pooled_vision.compiled(precision);
    copy.pooled_text = pooled_text.compiled(precision);
    copy.pooled_mix = pooled_mix.detach().clone();
    copy.residual_gain = residual_gain.detach().clone();
    if (config.match_cosine) copy.match_scale = match_scale.detach().clone();
  }
  if (config.match_late_interaction) {
    copy.late_attention_scale = late_attention_scale.detach().clone();
    copy.late_gain = late_gain.detach().clone();
  }
  return copy;
}

struct CompiledFusionTransformer::Packed {
  FusionConfig config;
  FusionWeights weights;
  std::optional<FusionPlan> plan;  // absent where LibTorch's operators serve
};

CompiledFusionTransformer::CompiledFusionTransformer(const FusionConfig& config,
                                                     const FusionWeights& weights,
                                                     nn::Precision precision) {
  const c10::InferenceMode inference;
  const nn::cpu::Kernels* kernels =
      nn::choose_kernels(precision, config.hidden_size, config.intermediate_size);
  auto packed = std::make_unique<Packed>();
  packed->config = config;
  packed->weights = kernels != nullptr ? weights.compiled_heads(config, precision)
                                       : weights.compiled(config, precision);
  if (kernels != nullptr) packed->plan.emplace(config, weights, *kernels);
  packed_ = std::move(packed);
}
CompiledFusionTransformer::~CompiledFusionTransformer() = default;
CompiledFusionTransformer::CompiledFusionTransformer(CompiledFusionTransformer&&) noexcept =
    default;
CompiledFusionTransformer& CompiledFusionTransformer::operator=(
    CompiledFusionTransformer&&) noexcept = default;

FusionOutput CompiledFusionTransformer::forward(const FusionInput& input) const {
  const c10::InferenceMode inference;
  const FusionConfig& config = packed_->config;
  const FusionWeights& weights = packed_->weights;
  if (input.vision_cells.defined() || input.vision_rows.defined())
    throw invalid("What serves takes whole maps, one for each item");
  if (!packed_->plan) return weights.forward(config, input);
  check_input(config, input);
  const at::Tensor position =
      input.vision_tokens.defined() ? visual_position(config, weights, input) : at::Tensor();
  const bool late = has_late_interaction(config, input);
  at::Tensor late_interaction;
  if (late) late_interaction = at::zeros({input.vision_tokens.size(0)}, at::kFloat);
  const auto relate = [&](std::int64_t item, const at::Tensor& image, const at::Tensor& text) {
    late_interaction.narrow(0, item, 1)
        .copy_(weights.late_interaction(image.unsqueeze(0), text.unsqueeze(0), {}));
  };
  FusionOutput output = weights.embed(
      config, input,
      packed_->plan->context(input, position, late ? relate : FusionPlan::Projected()));
  output.late_interaction = late_interaction;
  return output;
}

at::Tensor CompiledFusionTransformer::match(const FusionOutput& both) const {
  const c10::InferenceMode inference;
  return packed_->weights.match(packed_->config, both);
}

at::Tensor CompiledFusionTransformer::classify(const FusionOutput& output,
                                               std::size_t label_set) const {
  const c10::InferenceMode inference;
  return packed_->weights.classify(packed_->config, output, label_set);
}

}  // namespace bifocal::fusion
