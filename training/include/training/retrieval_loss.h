#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "fusion/fusion_transformer.h"
#include "training/process_group.h"
#include "training/trainable.h"

namespace bifocal::training {

// Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021): row i of `a` against row i of
// `b`, with the other rows, those of all ranks, as negatives, both ways. a, b [B, e] of norm 1,
// this rank's; scale []. -> [], whose mean over the ranks is that of the whole batch.
at::Tensor info_nce(const at::Tensor& a, const at::Tensor& b, const at::Tensor& scale,
                    const ProcessGroup& group);

// One tower's output for a batch.
struct CaptionStates {
  at::Tensor tokens;  // [B, L, H]
  at::Tensor pooled;  // [B, H]
  at::Tensor valid;   // [B, L] bool
};
struct ImageStates {
  at::Tensor tokens;  // [B, n, C]
  at::Tensor pooled;  // [B, C], of all cells
  at::Tensor cells;   // [B, n] int64, or undefined: all of the grid
  std::int64_t grid_height = 7, grid_width = 7;
};

ImageStates select(const ImageStates& states, const at::Tensor& rows);  // rows [n] int64
CaptionStates select(const CaptionStates& states, const at::Tensor& rows);

fusion::FusionInput fusion_input(const ImageStates* images, const CaptionStates* captions);

// Pairs that do not belong together, for the match head: row pair[k] of the batch is true; its
// image with caption[k]'s text, and image[k]'s picture with its text, are false.
struct FalsePairs {
  std::vector<std::int64_t> pair, caption, image;
};

struct RetrievalWeights {
  double caption = 0.2, fused = 0.5, match = 1.0, ranking = 0.5, late = 0.0;
};

// The loss of image-caption pairs, each image with two of its captions:
//   InfoNCE of image against each caption (mean of the two)
//   + caption * InfoNCE of the captions
//   + fused * (InfoNCE of image-and-first-caption against the second
//              + 0.5 InfoNCE of the same against the image)
//   + match * (cross-entropy of true and false pairs + ranking * softplus(false - true))
//   + late * InfoNCE of each image with each first caption, by what the match logit is without its
//     head: the scaled cosine and the late interaction.
// Images and captions are this rank's, the first captions padded alike on all ranks.
// `choose` draws the false pairs of the whole batch, given the cosines [B images, B captions]; each
// rank takes its share of them. The mean over the ranks is the loss of the whole batch.
Loss retrieval_loss(const fusion::FusionTransformerImpl& fusion, const ImageStates& images,
                    const CaptionStates& first, const CaptionStates& second,
                    const RetrievalWeights& weights,
                    const std::function<FalsePairs(const at::Tensor& cosines)>& choose,
                    const ProcessGroup& group);

// For `pairs` rows of a batch: a false caption and a false image, each by its likeness to the true
// one (softmax of scale * cosine) or, half of the time, any. Reproducible from `random`.
FalsePairs draw_false_pairs(const at::Tensor& cosines, double scale, std::int64_t pairs,
                            Random random);

}  // namespace bifocal::training
