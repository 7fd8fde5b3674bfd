#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "fusion/compiled_fusion_transformer.h"
#include "fusion/fusion_config.h"
#include "models/bundle.h"
#include "nn/packed_weights.h"
#include "nn/pooling.h"
#include "nn/precision.h"
#include "text/bert_config.h"
#include "text/compiled_bert.h"
#include "text/tokenizer.h"
#include "vision/compiled_efficientnet.h"
#include "vision/preprocess.h"
#include "vision/scaling.h"

namespace bifocal::models {

// Parameters and multiply-adds of one part; see bifocal/model.h for what is counted.
struct PartCost {
  std::string architecture;
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;
};

// The preprocessing of a vision directory: its preprocessor_config.json, else what its config.json
// says. Throws Error.
vision::Preprocess read_preprocess(const std::filesystem::path& vision_directory);

struct TextFeatures {
  at::Tensor tokens;  // [B, L, H]
  at::Tensor pooled;  // [B, H]
  at::Tensor valid;   // [B, L] bool
};

// Both towers and the fusion layer of one bundle, compiled to serve. Immutable; thread-safe.
// Every tensor is float32 on the CPU; callers run under c10::InferenceMode.
class FusionModel {
 public:
  // Throws Error(kInvalidBundle) naming the file and what does not fit. Weights that `packed` has
  // are not read from the bundle; the others are noted there.
  static std::shared_ptr<const FusionModel> load(const Bundle& bundle, nn::Precision precision,
                                                 nn::PackedWeights* packed = nullptr);

  vision::VisionOutput encode_images(const at::Tensor& pixels) const;  // [B, 3, H, W], normalised
  // ids, type_ids [B, L] int64; valid [B, L] bool.
  TextFeatures encode_texts(const at::Tensor& ids, const at::Tensor& type_ids,
                            const at::Tensor& valid) const;
  // Either side may be null, not both; both have the same B.
  fusion::FusionOutput fuse(const vision::VisionOutput* images, const TextFeatures* texts) const;
  at::Tensor match(const fusion::FusionOutput& both) const;  // logits [B]
  at::Tensor classify(const fusion::FusionOutput& output, std::size_t label_set) const;

  const vision::Preprocess& preprocess() const noexcept { return preprocess_; }
  const text::Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
  std::int64_t max_tokens() const noexcept { return text_config_.max_tokens; }
  const fusion::FusionConfig& fusion_config() const noexcept { return fusion_config_; }

  PartCost vision_cost() const;
  PartCost text_cost() const;
  PartCost fusion_cost() const;

 private:
  FusionModel(vision::EfficientNetConfig vision_config, vision::CompiledEfficientNet vision,
              vision::Preprocess preprocess, text::BertConfig text_config, text::CompiledBert text,
              std::unique_ptr<text::Tokenizer> tokenizer, fusion::FusionConfig fusion_config,
              fusion::CompiledFusionTransformer fusion);
  static std::shared_ptr<const FusionModel> compiled(const Bundle& bundle, nn::Precision precision,
                                                     nn::PackedWeights* packed);

  vision::EfficientNetConfig vision_config_;
  vision::CompiledEfficientNet vision_;
  vision::Preprocess preprocess_;
  text::BertConfig text_config_;
  text::CompiledBert text_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  fusion::FusionConfig fusion_config_;
  fusion::CompiledFusionTransformer fusion_;
};

}  // namespace bifocal::models
