#include "training/adamw.h"

#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

at::Tensor leaf(at::Tensor tensor) { return tensor.requires_grad_(true); }

// The algorithm of the paper, in double, for one number with constant gradient g.
double by_hand(double x, double g, double rate, double decay, const AdamW::Options& options,
               int steps) {
  double first = 0, second = 0;
  for (int t = 1; t <= steps; ++t) {
    x -= rate * decay * x;
    first = options.beta1 * first + (1 - options.beta1) * g;
    second = options.beta2 * second + (1 - options.beta2) * g * g;
    const double m = first / (1 - std::pow(options.beta1, t));
    const double v = second / (1 - std::pow(options.beta2, t));
    x -= rate * m / (std::sqrt(v) + options.epsilon);
  }
  return x;
}

TEST(AdamW, FollowsThePaperAndDecaysMatricesAlone) {
  const AdamW::Options options{0.9, 0.98, 1e-8};
  at::Tensor matrix = leaf(at::ones({2, 2})), vector = leaf(at::ones({2})),
             idle = leaf(at::ones({2}));
  AdamW adamw({{"group", {{"m", matrix}, {"v", vector}, {"idle", idle}}, 0.1, 0.5}}, options);
  for (int step = 0; step < 5; ++step) {
    adamw.zero_gradients();
    (matrix.sum() * 0.3 + vector.sum() * 0.3).backward();
    adamw.step(0.5);
  }
  EXPECT_NEAR(matrix[0][0].item<double>(), by_hand(1, 0.3, 0.05, 0.5, options, 5), 1e-6);
  EXPECT_NEAR(vector[0].item<double>(), by_hand(1, 0.3, 0.05, 0.0, options, 5), 1e-6);
  EXPECT_EQ(idle[0].item<float>(), 1.0f);
}

TEST(AdamW, ClipsByTheNormOfAllGradientsTogether) {
  at::Tensor a = leaf(at::zeros({1})), b = leaf(at::zeros({1}));
  AdamW adamw({{"a", {{"a", a}}}, {"b", {{"b", b}}}}, {});
  (a.sum() * 3 + b.sum() * 4).backward();
  EXPECT_NEAR(adamw.clip_gradients(0), 5, 1e-6);
  EXPECT_NEAR(a.grad().item<double>(), 3, 1e-6);
  EXPECT_NEAR(adamw.clip_gradients(1), 5, 1e-6);
  EXPECT_NEAR(a.grad().item<double>(), 0.6, 1e-5);
  EXPECT_NEAR(b.grad().item<double>(), 0.8, 1e-5);
}

TEST(AdamW, StateThatDoesNotFitIsRefused) {
  at::Tensor a = leaf(at::zeros({2}));
  AdamW adamw({{"a", {{"a", a}}}}, {});
  nn::StateDict state = adamw.state();
  state.at("second.a") = at::zeros({3});
  EXPECT_THROW(adamw.load_state(state), Error);
  state.erase("second.a");
  EXPECT_THROW(adamw.load_state(state), Error);
}

}  // namespace
}  // namespace bifocal::training
