#pragma once

#include <ATen/core/Tensor.h>

#include "fusion/fusion_transformer.h"

namespace bifocal::training {

// P(true) = sigmoid(scale * x + bias).
struct Logistic {
  double scale = 0, bias = 0;
};

// By Newton's method. yes, no [n]: x of the true ones and of as many false ones.
Logistic fit_logistic(const at::Tensor& yes, const at::Tensor& no);

// The match logit of `fusion` becomes scale times what it was, plus bias.
void scale_match(fusion::FusionTransformerImpl& fusion, const Logistic& by);

// What a query of image and text is made of (docs/fusion.md): the towers' own vectors and the
// fusion token's, each [N, e] of norm 1.
struct FusedParts {
  at::Tensor image, text, token;
};

// The weight of each.
struct FusedMix {
  double image = 1, text = 1, token = 0;
};

// Those weights, from `start`, by which a query finds the texts of its own item among all: the
// cross-entropy of softmax(scale * cosine), summed over the texts that are its own. The scale is
// fitted along, for it says how much those count that are not nearest.
// texts [M, e] of norm 1, owner [M] int64: of which query each is. Every query has a text.
FusedMix fit_fused_mix(const FusedParts& queries, const at::Tensor& texts, const at::Tensor& owner,
                       const FusedMix& start);

}  // namespace bifocal::training
