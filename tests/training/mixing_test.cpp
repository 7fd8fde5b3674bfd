#include "training/mixing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <utility>

#include "training/random.h"

namespace bifocal::training {
namespace {

// Item i is i everywhere.
at::Tensor plain_pictures(std::int64_t count, std::int64_t side) {
  return at::arange(count, at::kFloat)
      .view({count, 1, 1, 1})
      .expand({count, 3, side, side})
      .clone();
}

TEST(Mixing, TheShareIsWhatThePicturesWereMixedBy) {
  const at::Tensor pixels = plain_pictures(5, 24);
  const at::Tensor targets = soft_targets(at::arange(5, at::kLong), 5, 0);
  // A rectangle whose side is s of the picture's loses a quarter of s at the border on average:
  // with s * s uniform, 0.679 of the picture stays.
  for (const auto& [mixing, share] :
       {std::pair(Mixing{0.8, 0}, 0.5), std::pair(Mixing{0, 1.0}, 0.679)}) {
    Random random(7);
    double total = 0;
    for (int i = 0; i < 200; ++i) {
      const Mixture mixture = draw_mixture(mixing, 24, 24, random);
      ASSERT_GE(mixture.share, 0);
      ASSERT_LE(mixture.share, 1);
      total += mixture.share / 200;
      // What is on a picture, on average, is what its target says.
      const at::Tensor shown = mix_pixels(pixels, mixture).mean(at::IntArrayRef{1, 2, 3});
      const at::Tensor said = mix_targets(targets, mixture).matmul(at::arange(5, at::kFloat));
      ASSERT_TRUE(at::allclose(shown, said, 1e-4, 1e-4));
    }
    EXPECT_NEAR(total, share, 0.06);
  }
  EXPECT_TRUE(at::equal(pixels, plain_pictures(5, 24))) << "the batch itself was changed";
}

TEST(Mixing, CutMixCutsARectangle) {
  const at::Tensor pixels = plain_pictures(2, 10);
  Mixture mixture;
  mixture.top = 2;
  mixture.bottom = 5;
  mixture.left = 1;
  mixture.right = 9;
  const at::Tensor mixed = mix_pixels(pixels, mixture);
  EXPECT_EQ(mixed[0].sum().item<float>(), 3 * 3 * 8);
  EXPECT_TRUE(at::equal(mixed[0].slice(1, 2, 5).slice(2, 1, 9), at::ones({3, 3, 8})));
}

TEST(Mixing, IsOffAndRareAsAsked) {
  Random random(1);
  EXPECT_EQ(draw_mixture({}, 8, 8, random).share, 1);
  int mixed = 0;
  for (int i = 0; i < 1000; ++i)
    mixed += draw_mixture({.mixup_alpha = 1, .probability = 0.3}, 8, 8, random).share < 1 ? 1 : 0;
  EXPECT_NEAR(mixed, 300, 60);
}

TEST(SoftTargets, SmoothingTakesFromTheClassAndGivesToAll) {
  const at::Tensor targets = soft_targets(at::tensor({2, 0}, at::kLong), 4, 0.2);
  EXPECT_TRUE(at::allclose(
      targets, at::tensor({0.05f, 0.05f, 0.85f, 0.05f, 0.85f, 0.05f, 0.05f, 0.05f}).view({2, 4})));
}

}  // namespace
}  // namespace bifocal::training
