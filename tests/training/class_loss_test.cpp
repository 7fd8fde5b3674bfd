#include "training/class_loss.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/binary_cross_entropy_with_logits.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "training/mixing.h"

namespace bifocal::training {
namespace {

at::Tensor logits() {
  return at::tensor({1.f, 2.f, -1.f, 0.5f, 0.f, 3.f, 2.f, -2.f, 0.25f, 0.f, 0.f, 1.f}).view({4, 3});
}

TEST(ClassLoss, OfOneLabelIsPyTorchsCrossEntropy) {
  const at::Tensor classes = at::tensor({1, 2, 0, 2}, at::kLong);
  const at::Tensor weights = at::tensor({0.5f, 2.f, 1.f});
  const at::Tensor targets = soft_targets(classes, 3, 0);
  for (const at::Tensor& w : {at::Tensor(), weights}) {
    const double expected = at::cross_entropy_loss(logits(), classes, w).item<double>();
    EXPECT_NEAR(class_loss(logits(), targets, {false, 0, w}).item<double>(), expected, 1e-6);
  }
  EXPECT_NEAR(class_loss(logits(), targets, {false, 0.2, {}}).item<double>(),
              at::cross_entropy_loss(logits(), classes, {}, /*mean=*/1, -100, 0.2).item<double>(),
              1e-6);
}

TEST(ClassLoss, OfSeveralLabelsIsTheMeanOfBinaryOnes) {
  const at::Tensor targets =
      at::tensor({1.f, 0.f, 1.f, 0.f, 0.f, 0.f, 1.f, 1.f, 0.f, 0.f, 1.f, 1.f}).view({4, 3});
  const at::Tensor weights = at::tensor({0.5f, 2.f, 1.f});
  for (const at::Tensor& w : {at::Tensor(), weights})
    EXPECT_NEAR(class_loss(logits(), targets, {true, 0, w}).item<double>(),
                at::binary_cross_entropy_with_logits(logits(), targets, {}, w).item<double>(),
                1e-6);
}

TEST(ClassLoss, BalancedWeightsMakeClassesCountAlike) {
  const at::Tensor targets = soft_targets(at::tensor({0, 0, 0, 1}, at::kLong), 3, 0);
  // 4 / (3 * 3), 4 / (3 * 1), and 1 for a class without records.
  EXPECT_TRUE(at::allclose(balanced_weights(targets, false), at::tensor({4.f / 9, 4.f / 3, 1.f})));
  EXPECT_TRUE(at::allclose(balanced_weights(targets, true), at::tensor({1.f / 3, 3.f, 1.f})));
}

}  // namespace
}  // namespace bifocal::training
