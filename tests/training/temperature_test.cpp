#include "training/temperature.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/multinomial.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

TEST(Temperature, FindsHowOverconfidentLogitsAre) {
  at::manual_seed(3);
  const at::Tensor honest = 2 * at::randn({20000, 6});
  const at::Tensor classes_of = at::multinomial(at::softmax(honest, 1), 1).squeeze(1);
  const at::Tensor holds = (at::rand(honest.sizes()) < at::sigmoid(honest)).to(at::kFloat);
  for (const double factor : {0.4, 1.0, 3.0}) {
    EXPECT_NEAR(fit_temperature(honest * factor, classes_of), factor, 0.03 * factor);
    EXPECT_NEAR(fit_temperature(honest * factor, holds), factor, 0.03 * factor);
  }
}

TEST(Temperature, NoOtherHasALowerLoss) {
  at::manual_seed(4);
  const at::Tensor logits = 5 * at::randn({300, 4});
  const at::Tensor classes_of = at::multinomial(at::softmax(logits / 3, 1), 1).squeeze(1);
  const double best = fit_temperature(logits, classes_of);
  const auto loss = [&](double temperature) {
    return -at::log_softmax(logits.to(at::kDouble) / temperature, 1)
                .gather(1, classes_of.unsqueeze(1))
                .mean()
                .item<double>();
  };
  EXPECT_LT(loss(best), loss(best * 1.02));
  EXPECT_LT(loss(best), loss(best / 1.02));
}

TEST(Temperature, ThoughASmallSetIsSeparatedItStaysANumber) {
  const at::Tensor logits = at::tensor({4.0f, 0.0f, 0.0f, 4.0f}).view({2, 2});
  EXPECT_GE(fit_temperature(logits, at::tensor({0, 1}, at::kLong)), 1.0 / 51);
  EXPECT_LE(fit_temperature(logits, at::tensor({1, 0}, at::kLong)), 51);
}

TEST(Temperature, RefusesShapesThatDoNotFit) {
  const at::Tensor logits = at::randn({3, 2});
  EXPECT_THROW(fit_temperature(logits, at::tensor({0, 1}, at::kLong)), Error);
  EXPECT_THROW(fit_temperature(logits, at::randn({3, 3})), Error);
  EXPECT_THROW(fit_temperature(at::randn({0, 2}), at::randn({0, 2})), Error);
}

}  // namespace
}  // namespace bifocal::training
