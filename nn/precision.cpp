#include "nn/precision.h"

#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>

#include "nn/linear_weights.h"

namespace bifocal::nn {
namespace {

// Seconds of a product the size of MiniLM's, the best of several: others may use the core.
double seconds_of(const LinearWeights& linear, const at::Tensor& x) {
  double best = 1e9;
  for (int round = 0; round < 8; ++round) {
    const auto began = std::chrono::steady_clock::now();
    linear.forward(x);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    best = std::min(best, took.count());
  }
  return best;
}

Precision measure() {
  constexpr double kClearly = 1.2;
  const c10::InferenceMode inference;
  const LinearWeights linear(at::randn({1536, 384}), at::randn({1536}));
  const at::Tensor x = at::randn({64, 384});
  const double fp32 = seconds_of(linear.compiled(Precision::kFp32), x);
  const double bf16 = seconds_of(linear.compiled(Precision::kBf16), x);
  return bf16 * kClearly < fp32 ? Precision::kBf16 : Precision::kFp32;
}

}  // namespace

Precision fastest_precision() {
  static const Precision fastest = measure();
  return fastest;
}

}  // namespace bifocal::nn
