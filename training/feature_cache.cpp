#include "training/feature_cache.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>
#include <torch/nn/modules/container/modulelist.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "bifocal/error.h"
#include "cached_arrays.h"
#include "core/files.h"
#include "core/sha256.h"
#include "encoding_steps.h"
#include "nn/pooling.h"
#include "nn/weights.h"
#include "row_index.h"
#include "text/compiled_bert.h"
#include "vision/efficientnet_checkpoint.h"

namespace bifocal::training {
namespace {

// SHA-256 over names, shapes and bytes of the weights.
std::string fingerprint(const torch::nn::Module& module) {
  std::string digests;
  for (const auto& [name, tensor] : nn::state_dict_of(module)) {
    const std::span bytes(static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes());
    digests += name + " " + core::sha256_hex(bytes) + "\n";
  }
  return core::sha256_hex(core::as_bytes(digests));
}

std::vector<std::size_t> with_images(const RecordSet& records) {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < records.size(); ++i)
    if (records[i].has_image()) indices.push_back(i);
  return indices;
}

// A vision tower, compiled, for its first stages' map or for all of its tokens.
class FrozenStages {
 public:
  struct Output {
    at::Tensor kept;    // bf16: tokens [B, h * w, C], or the map [B, h', w', c]
    at::Tensor pooled;  // [B, C], after all stages
    std::int64_t grid_height, grid_width;
  };
  FrozenStages(const vision::EfficientNet& tower, std::size_t stages)
      : whole_(stages >= tower->config().stages.size()) {
    const c10::InferenceMode inference;
    if (whole_) {
      compiled_.emplace(tower->compile(nn::Precision::kFp32));
    } else {
      weights_ = tower->weights().compiled(nn::Precision::kFp32);
      blocks_ = vision::blocks_of_stages(tower->config(), stages);
    }
  }
  bool is_whole() const noexcept { return whole_; }

  Output forward(const at::Tensor& pixels) const {
    const c10::InferenceMode inference;
    if (whole_) {
      const vision::VisionOutput output = compiled_->forward_features(pixels);
      return {output.tokens.to(at::kBFloat16), output.pooled, output.grid_height,
              output.grid_width};
    }
    const at::Tensor map = weights_.forward_blocks(pixels, blocks_);
    // Kept first: what comes after may write where the map is.
    const at::Tensor kept = map.permute({0, 2, 3, 1}).to(at::kBFloat16).contiguous();
    const vision::VisionOutput output = weights_.forward_from(map, blocks_);
    return {kept, output.pooled, output.grid_height, output.grid_width};
  }

 private:
  bool whole_;
  std::optional<vision::CompiledEfficientNet> compiled_;
  vision::EfficientNetWeights weights_;
  std::size_t blocks_ = 0;
};

// The first layers alone, with a copy of their weights.
text::Bert lower_layers(const text::Bert& tower, std::int64_t layers) {
  text::BertConfig config = tower->config();
  config.num_hidden_layers = layers;
  text::Bert lower(config);
  nn::StateDict kept;
  const nn::StateDict all = nn::state_dict_of(*tower);
  for (const auto& [name, tensor] : nn::state_dict_of(*lower)) kept.emplace(name, all.at(name));
  nn::load_weights(*lower, kept, "text encoder");
  lower->eval();
  return lower;
}

}  // namespace

ImageFeatures encode_images(const RecordSet& records, const vision::EfficientNet& tower,
                            const vision::Preprocess& preprocess, const ImageViews& views,
                            std::size_t frozen_stages, const EncodingOptions& options) {
  const std::vector<std::size_t> images = with_images(records);
  if (images.empty()) throw Error(ErrorCode::kInvalidItem, "there is no image in the data");
  const FrozenStages frozen(tower, frozen_stages);
  const FrozenStages::Output shape =
      frozen.forward(at::zeros({1, 3, preprocess.height, preprocess.width}));
  const auto rows = static_cast<std::int64_t>(images.size());
  nlohmann::json made_from = {{"kind", "images"},
                              {"weights", fingerprint(*tower)},
                              {"config", vision::to_json(tower->config())},
                              {"preprocess", preprocess.to_json()},
                              {"images", digest_of_images(records, images)}};
  describe_views(views, made_from);
  if (!frozen.is_whole()) made_from["stages"] = frozen_stages;
  if (frozen.is_whole() && tower->config().detail_stage > 0)
    made_from["detail_stage"] = tower->config().detail_stage;
  const auto make = [&](ArrayWriter& writer) {
    std::mutex guard;
    nlohmann::json failed = nlohmann::json::object();
    share_out(images.size(), options, 1, images.size(), [&](std::size_t row) {
      at::Tensor pixels;
      try {
        pixels = views_of(vision::decode(records.read_image(images[row])), preprocess, views, row);
      } catch (const Error& error) {
        const std::lock_guard lock(guard);
        failed[std::to_string(row)] = error.message();
        return;
      }
      const FrozenStages::Output output = frozen.forward(pixels);
      writer.write(0, static_cast<std::int64_t>(row), output.kept);
      writer.write(1, static_cast<std::int64_t>(row), output.pooled);
    });
    return nlohmann::json{{"failed", failed}};
  };
  std::vector<std::int64_t> kept_shape{rows, views.count()};
  kept_shape.insert(kept_shape.end(), shape.kept.sizes().begin() + 1, shape.kept.sizes().end());
  const CachedArrays cached =
      cached_arrays(options.cache, "images", made_from,
                    {{frozen.is_whole() ? "tokens" : "map", kept_shape},
                     {"pooled", {rows, views.count(), shape.pooled.size(1)}}},
                    make);

  ImageFeatures features;
  features.grid_height = shape.grid_height;
  features.grid_width = shape.grid_width;
  std::vector<std::int64_t> kept;
  const nlohmann::json& failed = cached.about.at("failed");
  for (std::size_t row = 0; row < images.size(); ++row) {
    const auto reason = failed.find(std::to_string(row));
    if (reason == failed.end()) {
      kept.push_back(static_cast<std::int64_t>(row));
      features.records.push_back(images[row]);
    } else {
      features.skipped.push_back({records[images[row]].image, reason->get<std::string>()});
    }
  }
  if (kept.empty())
    throw Error(ErrorCode::kInvalidItem,
                "none of the images could be read; the first: " + features.skipped.front().where +
                    ": " + features.skipped.front().reason);
  at::Tensor arrays = cached.arrays[0], pooled = cached.arrays[1];
  if (kept.size() != images.size()) {
    const at::Tensor index = index_of(kept);
    arrays = arrays.index_select(0, index);
    pooled = pooled.index_select(0, index);
  }
  (frozen.is_whole() ? features.tokens : features.map) = arrays;
  features.pooled = pooled.to(at::kFloat);
  return features;
}

CaptionFeatures encode_captions(const std::vector<std::string>& texts, const text::Bert& tower,
                                const text::Tokenizer& tokenizer, std::int64_t layers,
                                std::int64_t max_tokens, const EncodingOptions& options) {
  if (texts.empty()) throw Error(ErrorCode::kInvalidItem, "there is no text in the data");
  const TokenIds tokens =
      token_ids(texts, tokenizer, std::min(max_tokens, tower->config().max_tokens));
  const auto rows = static_cast<std::int64_t>(texts.size());
  const std::int64_t size = tower->config().hidden_size;
  const auto length = static_cast<std::int64_t>(tokens.longest);

  const nlohmann::json made_from = {{"kind", "captions"},
                                    {"weights", fingerprint(*tower)},
                                    {"config", tower->config().to_json()},
                                    {"layers", layers},
                                    {"token_ids", tokens.digest}};
  const auto make = [&](ArrayWriter& writer) {
    const text::CompiledBert lower = lower_layers(tower, layers)->compile(nn::Precision::kFp32);
    UpperLayers upper(tower, layers);
    upper->eval();
    const std::vector<std::vector<std::size_t>> groups = groups_of_one_length(tokens);
    share_out(groups.size(), options, kTextsTogether, texts.size(), [&](std::size_t group) {
      const at::Tensor hidden = lower.forward(tokens.batch(groups[group]), {}, {});  // [B, L, H]
      const at::Tensor pooled =
          nn::pool(upper->forward(hidden, {}), {}, tower->config().pooling);  // [B, H]
      for (std::size_t i = 0; i < groups[group].size(); ++i) {
        const auto row = static_cast<std::int64_t>(groups[group][i]);
        writer.write(0, row, hidden[static_cast<std::int64_t>(i)]);
        writer.write(1, row, pooled[static_cast<std::int64_t>(i)]);
      }
    });
    return nlohmann::json::object();
  };
  const CachedArrays cached =
      cached_arrays(options.cache, "captions", made_from,
                    {{"hidden", {rows, length, size}}, {"pooled", {rows, size}}}, make);
  CaptionFeatures features{cached.arrays[0], at::empty({rows}, at::kLong),
                           cached.arrays[1].to(at::kFloat)};
  for (std::int64_t i = 0; i < rows; ++i)
    features.lengths.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(tokens.ids[static_cast<std::size_t>(i)].size());
  return features;
}

std::int64_t CaptionFeatures::longest(const at::Tensor& rows) const {
  return lengths.index_select(0, rows).max().item<std::int64_t>();
}

at::Tensor CaptionFeatures::tokens(const at::Tensor& rows, std::int64_t length,
                                   const at::Device& device) const {
  return hidden.narrow(1, 0, length).index_select(0, rows).to(device).to(at::kFloat);
}

at::Tensor CaptionFeatures::valid(const at::Tensor& rows, std::int64_t length,
                                  const at::Device& device) const {
  return (at::arange(length).unsqueeze(0) < lengths.index_select(0, rows).unsqueeze(1)).to(device);
}

at::Tensor pooled_captions(const std::vector<std::string>& texts, const text::Bert& tower,
                           const text::Tokenizer& tokenizer, const EncodingOptions& options) {
  const TokenIds tokens = token_ids(texts, tokenizer, tower->config().max_tokens);
  const text::CompiledBert encoder = tower->compile(nn::Precision::kFp32);
  const std::vector<std::vector<std::size_t>> groups = groups_of_one_length(tokens);
  at::Tensor pooled =
      at::empty({static_cast<std::int64_t>(texts.size()), tower->config().hidden_size});
  share_out(groups.size(), options, kTextsTogether, texts.size(), [&](std::size_t group) {
    const at::Tensor of_group =
        nn::pool(encoder.forward(tokens.batch(groups[group]), {}, {}), {}, tower->config().pooling);
    for (std::size_t i = 0; i < groups[group].size(); ++i)
      pooled.select(0, static_cast<std::int64_t>(groups[group][i]))
          .copy_(of_group[static_cast<std::int64_t>(i)]);
  });
  return pooled;
}

UpperLayersImpl::UpperLayersImpl(const text::Bert& tower, std::int64_t first) : first_(first) {
  const auto container = register_module("layers", std::make_shared<torch::nn::Module>());
  nn::StateDict kept;
  const nn::StateDict all = nn::state_dict_of(*tower);
  for (std::int64_t i = first; i < tower->config().num_hidden_layers; ++i) {
    layers_.emplace_back(tower->config().layer());
    container->register_module(std::to_string(i), layers_.back());
  }
  for (const auto& parameter : named_parameters())
    kept.emplace(parameter.key(), all.at(parameter.key()));
  nn::load_weights(*this, kept, "text encoder");
}

at::Tensor UpperLayersImpl::forward(const at::Tensor& hidden, const at::Tensor& valid) const {
  at::Tensor x = hidden;
  for (const nn::EncoderLayer& layer : layers_) x = layer->forward(x, valid);
  return x;
}

}  // namespace bifocal::training
