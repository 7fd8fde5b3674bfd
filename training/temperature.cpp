#include "training/temperature.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

constexpr double kLargest = 50;  // of T and of 1 / T
constexpr int kHalvings = 60;    // more than float64 can tell apart

}  // namespace

double fit_temperature(const at::Tensor& logits, const at::Tensor& targets) {
  const c10::InferenceMode guard;
  const bool one_holds = targets.dim() == 1;
  if (logits.dim() != 2 || logits.size(0) == 0 || targets.size(0) != logits.size(0) ||
      (!one_holds && targets.sizes() != logits.sizes()))
    throw Error(ErrorCode::kInvalidArgument,
                "a temperature needs logits [N, K] and targets [N] or [N, K] of one item or more");
  const at::Tensor z = logits.to(at::kDouble);
  const double wanted =
      (one_holds ? z.gather(1, targets.unsqueeze(1)) : z * targets.to(at::kDouble))
          .sum()
          .item<double>();
  // The likelihood is convex in b = 1 / T; its slope is the expected less the observed logit.
  const auto slope = [&](double b) {
    const at::Tensor p = one_holds ? at::softmax(z * b, 1) : at::sigmoid(z * b);
    return (p * z).sum().item<double>() - wanted;
  };
  double low = std::log(1 / kLargest), high = std::log(kLargest);
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    (slope(std::exp(middle)) < 0 ? low : high) = middle;
  }
  return std::exp(-(low + high) / 2);
}

}  // namespace bifocal::training
