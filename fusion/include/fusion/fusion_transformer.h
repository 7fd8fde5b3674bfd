#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <cstddef>
#include <cstdint>

#include "fusion/compiled_fusion_transformer.h"
#include "fusion/fusion_config.h"
#include "fusion/heads.h"
#include "nn/encoder_layer.h"
#include "nn/precision.h"

namespace bifocal::fusion {

// The fusion layer: projected tokens of both towers and a fusion token through an encoder; an absent
// side is left out, padding is masked. Weight names: those of the reference weights
// (vision_projection.*, layers.N.*, match_head.*, ...) and class_heads.<set>.{weight,bias}.
class FusionTransformerImpl : public torch::nn::Module {
 public:
  explicit FusionTransformerImpl(const FusionConfig& config);

  FusionOutput forward(const FusionInput& input);
  at::Tensor match(const FusionOutput& both);                            // logits [B]
  at::Tensor classify(const FusionOutput& output, std::size_t label_set);  // logits [B, labels]

  CompiledFusionTransformer compile(nn::Precision precision) const;
  const FusionConfig& config() const noexcept { return config_; }

 private:
  FusionConfig config_;
};
TORCH_MODULE(FusionTransformer);

// Fresh weights from a seed, the same on every machine: truncated normal 0.02, norms one and zero,
// gains 0.1, logit_scale ln(1/0.07).
void initialise(FusionTransformerImpl& module, std::uint64_t seed);

}  // namespace bifocal::fusion
