#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "fusion/fusion_transformer.h"
#include "training/batch_contrasts.h"
#include "training/process_group.h"
#include "training/trainable.h"

namespace bifocal::training {

// Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021): row i of `a` against row i of
// `b`, with the other rows, those of all ranks, as negatives, both ways. a, b [B, e] of norm 1,
// this rank's; scale []. -> [], whose mean over the ranks is that of the whole batch.
at::Tensor info_nce(const at::Tensor& a, const at::Tensor& b, const at::Tensor& scale,
                    const ProcessGroup& group);

// How much a teacher counts, beside the labels.
struct TeacherWeights {
  double weight = 0;       // of the divergence from it
  double temperature = 1;  // by which its logits are divided
};

// The Kullback-Leibler divergence of softmax(scale * a b^T), row by row and column by column, from
// softmax(taught_a taught_b^T / temperature) (Hinton et al. 2015): the mean of both ways. Row i of
// `taught_a` [B, E] is what the teacher makes of what a[i] is the vector of; its products are
// logits. Rows and ranks as in info_nce().
at::Tensor teacher_divergence(const at::Tensor& a, const at::Tensor& b, const at::Tensor& scale,
                              const at::Tensor& taught_a, const at::Tensor& taught_b,
                              double temperature, const ProcessGroup& group);

// What a teacher makes of a batch (TeacherVectors): [B, E] each, undefined without one.
struct Lesson {
  at::Tensor image, first, second;
};

// Adds to `loss` what it is from the teacher, where `lesson` has one: the mean over both captions
// of an image, as the part "teacher".
void add_teacher(Loss& loss, const at::Tensor& image, const at::Tensor& first,
                 const at::Tensor& second, const at::Tensor& scale, const TeacherWeights& teacher,
                 const Lesson& lesson, const ProcessGroup& group);

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
  double caption = 0.2, fused = 0.5, match = 1.0, ranking = 0.5, late = 0.0, contrast = 0.0;
  TeacherWeights teacher;
};

// Contrasts of a batch, and what the towers make of them.
struct ShownContrasts {
  BatchContrasts drawn;        // P contrasts
  ImageStates images;          // [b, ...], this rank's, of all cells
  CaptionStates truths, lies;  // [P, ...]
};

// Adds the double differences of the scaled cosine (add_double_difference()), the scale being what
// InfoNCE makes it. images [b, e]: this rank's; truths, lies [P, e]: of the contrasts' texts.
void add_cosine_contrasts(Loss& loss, const at::Tensor& images, const at::Tensor& truths,
                          const at::Tensor& lies, const at::Tensor& scale,
                          const BatchContrasts& drawn, double weight, const ProcessGroup& group);

// The loss of image-caption pairs, each image with two of its captions:
//   InfoNCE of image against each caption (mean of the two)
//   + caption * InfoNCE of the captions
//   + fused * (InfoNCE of image-and-first-caption against the second
//              + 0.5 InfoNCE of the same against the image)
//   + match * (cross-entropy of true and false pairs + ranking * softplus(false - true))
//   + late * InfoNCE of each image with each first caption, by what the match logit is without its
//     head: the scaled cosine and the late interaction
//   + contrast * (double difference of the scaled cosine + that of the match logit), of
//     `contrasts` where there are any (add_cosine_contrasts(), add_double_difference()).
// With a teacher of weight t, InfoNCE of image against caption (the first and the last term) has
// t * teacher_divergence() beside it, and softplus(false - true) has t times the same divergence of
// sigmoid(true - false) from sigmoid of the teacher's difference.
// Images and captions are this rank's, the first captions padded alike on all ranks.
// `choose` draws the false pairs of the whole batch, given the cosines [B images, B captions]; each
// rank takes its share of them. The mean over the ranks is the loss of the whole batch.
Loss retrieval_loss(const fusion::FusionTransformerImpl& fusion, const ImageStates& images,
                    const CaptionStates& first, const CaptionStates& second,
                    const RetrievalWeights& weights,
                    const std::function<FalsePairs(const at::Tensor& cosines)>& choose,
                    const ProcessGroup& group, const Lesson& lesson = {},
                    const ShownContrasts& contrasts = {});

// For `pairs` rows of a batch: a false caption and a false image, each by its likeness to the true
// one (softmax of scale * cosine) or, half of the time, any. Reproducible from `random`.
FalsePairs draw_false_pairs(const at::Tensor& cosines, double scale, std::int64_t pairs,
                            Random random);

}  // namespace bifocal::training
