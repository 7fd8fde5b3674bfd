#include "calibration.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>

#include "nn/pooling.h"

namespace bifocal::training {
namespace {

constexpr std::int64_t kItems = 200, kSize = 32;

at::Tensor noisy(const at::Tensor& truth, double noise) {
  return nn::l2_normalize(truth + noise * at::randn({kItems, kSize}));
}

// The share of queries whose nearest text is their own.
double found(const FusedParts& parts, const FusedMix& mix, const at::Tensor& texts) {
  const at::Tensor query =
      mix.image * parts.image + mix.text * parts.text + mix.token * parts.token;
  const at::Tensor nearest = query.matmul(texts.t()).argmax(1);
  return (nearest == at::arange(kItems)).to(at::kDouble).mean().item<double>();
}

TEST(FusedMix, WeighsEachSideByWhatItTells) {
  at::manual_seed(1);
  const at::Tensor truth = nn::l2_normalize(at::randn({kItems, kSize}));
  const at::Tensor texts = noisy(truth, 0.15), owner = at::arange(kItems);
  // The image tells much, the text little, the fusion token nothing; and the start is the reverse.
  const FusedParts parts{noisy(truth, 0.15), noisy(truth, 0.6), noisy(at::zeros_like(truth), 1)};
  const FusedMix start{0.3, 1, 0.5};
  const FusedMix fit = fit_fused_mix(parts, texts, owner, start);
  EXPECT_GT(fit.image, 2 * fit.text);
  EXPECT_GT(fit.text, 0);
  EXPECT_LT(std::abs(fit.token), 0.3 * fit.image);
  EXPECT_GT(found(parts, fit, texts), found(parts, start, texts) + 0.1);
}

TEST(Logistic, FindsScaleAndThreshold) {
  at::manual_seed(2);
  const at::Tensor no = at::randn({4000}), yes = at::randn({4000}) + 3;
  // Of two normal distributions with one deviation the logit is linear: 3 x - 4.5.
  const Logistic fit = fit_logistic(yes, no);
  EXPECT_NEAR(fit.scale, 3, 0.3);
  EXPECT_NEAR(fit.bias, -4.5, 0.5);
}

}  // namespace
}  // namespace bifocal::training
