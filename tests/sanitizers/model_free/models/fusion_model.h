#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fusion/fusion_config.h"
#include "models/bundle.h"
#include "nn/packed_weights.h"
#include "nn/precision.h"
#include "text/tokenizer.h"
#include "vision/preprocess.h"

// Found in place of models/fusion_model.h where LibTorch must not be: the same bundle, tokenizer
// and preprocessing, and instead of towers one vector of weights, which ../forward.cpp multiplies
// by.
namespace bifocal::models {

struct PartCost {
  std::string architecture;
  std::int64_t parameters = 0;
  std::int64_t multiply_adds = 0;
};

class FusionModel {
 public:
  static std::shared_ptr<const FusionModel> load(const Bundle& bundle, nn::Precision precision,
                                                 nn::PackedWeights* packed = nullptr);

  const vision::Preprocess& preprocess() const noexcept { return preprocess_; }
  const text::Tokenizer& tokenizer() const noexcept { return *tokenizer_; }
  std::int64_t max_tokens() const noexcept { return max_tokens_; }
  const fusion::FusionConfig& fusion_config() const noexcept { return fusion_config_; }
  const std::vector<float>& weights() const noexcept { return weights_; }  // [embedding_size]

  PartCost vision_cost() const { return {"none", 0, 20'000'000}; }
  PartCost text_cost() const { return {"none", 0, 1'000'000}; }
  PartCost fusion_cost() const { return {"none", 0, 0}; }

 private:
  vision::Preprocess preprocess_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::int64_t max_tokens_ = 0;
  fusion::FusionConfig fusion_config_;
  std::vector<float> weights_;
};

}  // namespace bifocal::models
