#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "training/contrast_texts.h"
#include "training/trainable.h"

namespace bifocal::training {

// Contrasts of this rank's part of a batch, each with a second image of the batch: one of which the
// false text holds, as far as captions say, or any other where there is none.
struct BatchContrasts {
  std::vector<std::int64_t> image, partner;         // [P] places in Batch::whole
  std::vector<std::int64_t> true_text, false_text;  // [P] rows of ContrastTexts::texts
  std::vector<std::int64_t> matched;                // [p] of [P]: those that the match head sees
  std::size_t all = 0, all_matched = 0;             // P and p, summed over the ranks
};

// At most `per_image` of each image, drawn anew in each epoch, and of those of the whole batch
// evenly spread ones, at most `matched`, for the match head. None of a batch of a single image.
BatchContrasts draw_contrasts(const ContrastTexts& contrasts, const Batch& batch,
                              std::size_t per_image, std::size_t matched);

// Adds `weight` times the mean of softplus(n - m) over the contrasts of all ranks, as the part
// `name`, and how many have m > n, in percent. `difference` [P']: m - n of this rank's, m being how
// much more the true text scores than the false one with the image, n the same with its partner.
// Whatever the texts alone tell is in both and cancels.
void add_double_difference(Loss& loss, const at::Tensor& difference, std::size_t all, double weight,
                           const std::string& name, const ProcessGroup& group);

}  // namespace bifocal::training
