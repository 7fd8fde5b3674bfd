#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "fusion/fusion_transformer.h"

namespace bifocal::training {

// How a fusion layer starts so that its first layer already relates words to what they name.

// Of how many images and texts tokens are enough for the statistics of standardise_tokens().
inline constexpr std::int64_t kMostAlignedImages = 400, kMostAlignedTexts = 4000;

// Channels of both towers' tokens, [N, C] and [M, H], standardised in the norms of the projections;
// the projections at the leading principal components, whitened.
void standardise_tokens(fusion::FusionTransformerImpl& fusion, const at::Tensor& image_tokens,
                        const at::Tensor& text_tokens);
// The late interaction heard in the match logit; as long as its gain is zero, its projections learn
// nothing from it.
void open_late_interaction(fusion::FusionTransformerImpl& fusion);
// The cells' positions as cosine waves along either side of the map, large enough beside the tokens
// for where a cell lies to be read from the first step on (one drawn at a deviation of 0.02 is
// not). Standardised tokens are what they are sized for.
void place_positions(fusion::FusionTransformerImpl& fusion, std::uint64_t seed);
// Queries, keys and values near the identity: a token attends to what its projection is like, and
// gets that.
void align_attention(fusion::FusionTransformerImpl& fusion, std::uint64_t seed);

}  // namespace bifocal::training
