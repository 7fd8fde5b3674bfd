#pragma once

#include <ATen/core/Tensor.h>

namespace bifocal::training {

// Temperature scaling (Guo et al. 2017): the number T > 0 by which to divide logits so that the
// probabilities are calibrated, that is, the one of least negative log-likelihood. logits [N, K].
// targets: [N] int64 for classes of which one holds (softmax), or [N, K] float 0 or 1 for labels of
// which any hold (sigmoid each). It never changes which class is first. Between 1/50 and 50: logits
// that separate a small set perfectly would ask for 0. Throws Error(kInvalidArgument) for N = 0 or
// shapes that do not fit.
double fit_temperature(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace bifocal::training
