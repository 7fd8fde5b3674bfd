#include "nn/pooling.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "bifocal/error.h"

namespace bifocal::nn {
namespace {

constexpr Pooling kAll[] = {Pooling::kMean, Pooling::kCls, Pooling::kMax};

TEST(Pooling, PaddingNeverCountsWhateverItHolds) {
  at::manual_seed(1);
  for (const Pooling pooling : kAll) {
    for (int i = 0; i < 20; ++i) {
      const auto tokens = at::randn({3, 9, 4});
      auto valid = at::rand({3, 9}) < 0.6;
      valid.select(1, 0).fill_(true);
      for (const double poison : {1e30, -1e30, std::numeric_limits<double>::quiet_NaN()}) {
        const auto poisoned = at::where(valid.unsqueeze(-1), tokens, at::full_like(tokens, poison));
        EXPECT_TRUE(pool(poisoned, valid, pooling).equal(pool(tokens, valid, pooling)));
      }
    }
  }
}

TEST(Pooling, ABatchGivesWhatItsItemsGiveAlone) {
  at::manual_seed(2);
  for (const Pooling pooling : kAll) {
    const auto tokens = at::randn({4, 8, 5});
    auto valid = at::zeros({4, 8}, at::kBool);
    for (std::int64_t b = 0; b < 4; ++b) valid[b].narrow(0, 0, 2 * b + 2).fill_(true);
    const auto together = pool(tokens, valid, pooling);
    for (std::int64_t b = 0; b < 4; ++b) {
      const auto alone = pool(tokens.narrow(0, b, 1).narrow(1, 0, 2 * b + 2), {}, pooling);
      EXPECT_TRUE(at::allclose(together[b], alone[0], 1e-5, 1e-6));
    }
  }
}

TEST(Pooling, WithoutAValidTokenTheResultIsZero) {
  const auto tokens = at::randn({2, 3, 4});
  const auto valid = at::zeros({2, 3}, at::kBool);
  for (const Pooling pooling : {Pooling::kMean, Pooling::kMax}) {
    EXPECT_TRUE(pool(tokens, valid, pooling).equal(at::zeros({2, 4})));
  }
}

TEST(Pooling, NamesRoundTrip) {
  for (const Pooling pooling : kAll) EXPECT_EQ(pooling_from_name(name_of(pooling)), pooling);
  EXPECT_THROW(pooling_from_name("median"), Error);
}

TEST(L2Normalize, GivesNormOneAndKeepsDirection) {
  const auto x = at::randn({6, 11}) * 40;
  const auto y = l2_normalize(x);
  EXPECT_TRUE(at::allclose(y.norm(2, -1), at::full_like(y.select(1, 0), 1), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(y * x.norm(2, -1, true), x, 1e-5, 1e-5));
}

TEST(L2Normalize, ZeroStaysZero) {
  EXPECT_TRUE(l2_normalize(at::zeros({2, 3})).equal(at::zeros({2, 3})));
}

}  // namespace
}  // namespace bifocal::nn
