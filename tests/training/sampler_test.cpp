#include "training/sampler.h"

#include <gtest/gtest.h>

#include <set>

#include "bifocal/error.h"
#include "training/schedule.h"

namespace bifocal::training {
namespace {

TEST(Sampler, AnEpochHasEachSampleAtMostOnceAndDropsOnlyWhatIsLeftOver) {
  Sampler sampler(23, 5, 1);
  EXPECT_EQ(sampler.batches_per_epoch(), 4);
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<std::size_t> seen;
    for (std::int64_t b = 0; b < 4; ++b)
      for (const std::size_t sample : sampler.batch(4 * epoch + b)) {
        EXPECT_LT(sample, 23u);
        EXPECT_TRUE(seen.insert(sample).second);
      }
    EXPECT_EQ(seen.size(), 20u);
  }
}

TEST(Sampler, ABatchIsAFunctionOfItsNumber) {
  Sampler forward(100, 7, 3), jumping(100, 7, 3), other(100, 7, 4);
  std::vector<std::vector<std::size_t>> batches;
  for (std::int64_t b = 0; b < 40; ++b) batches.push_back(forward.batch(b));
  for (const std::int64_t b : {31, 2, 15, 14, 39}) EXPECT_EQ(jumping.batch(b), batches[b]);
  EXPECT_NE(batches[0], batches[14]);
  EXPECT_NE(other.batch(0), batches[0]);
}

TEST(Sampler, FewerSamplesThanABatchAreOneBatch) {
  Sampler sampler(3, 8, 1);
  EXPECT_EQ(sampler.batches_per_epoch(), 1);
  EXPECT_EQ(sampler.batch(5).size(), 3u);
  EXPECT_THROW(Sampler(0, 8, 1), Error);
}

TEST(WarmUpCosine, RisesFallsAndEnds) {
  const WarmUpCosine schedule{10, 110, 0.1};
  EXPECT_DOUBLE_EQ(schedule.at(0), 0.1);
  EXPECT_DOUBLE_EQ(schedule.at(9), 1.0);
  EXPECT_DOUBLE_EQ(schedule.at(10), 1.0);
  EXPECT_NEAR(schedule.at(60), 0.55, 1e-12);
  EXPECT_NEAR(schedule.at(110), 0.1, 1e-12);
  for (std::int64_t step = 10; step < 110; ++step)
    EXPECT_GE(schedule.at(step), schedule.at(step + 1));
}

}  // namespace
}  // namespace bifocal::training
