#include "training/random.h"

#include <gtest/gtest.h>

#include <numeric>

namespace bifocal::training {
namespace {

// The first outputs of the published algorithm, from its reference code with the state 1234567.
TEST(Random, IsSplitMix64) {
  Random random(0);
  random.set_state(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317u);
  EXPECT_EQ(random.next(), 3203168211198807973u);
  EXPECT_EQ(random.next(), 9817491932198370423u);
}

TEST(Random, BelowIsEvenAndInRange) {
  Random random(3);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70'000; ++i) ++counts.at(random.below(7));
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
}

TEST(Random, UniformCoversTheUnitInterval) {
  Random random(4);
  double sum = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double value = random.uniform();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.02);
}

TEST(Random, ShuffleKeepsTheValuesAndDependsOnSeedAndStream) {
  std::vector<int> values(100);
  std::iota(values.begin(), values.end(), 0);
  const auto shuffled = [&](std::uint64_t seed, std::uint64_t stream) {
    std::vector<int> copy = values;
    Random(seed, stream).shuffle(copy);
    return copy;
  };
  EXPECT_EQ(shuffled(1, 2), shuffled(1, 2));
  EXPECT_NE(shuffled(1, 2), shuffled(1, 3));
  EXPECT_NE(shuffled(1, 2), shuffled(2, 2));
  std::vector<int> sorted = shuffled(5, 0);
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, values);
}

TEST(Random, StateResumes) {
  Random random(9);
  random.next();
  Random copy(0);
  copy.set_state(random.state());
  EXPECT_EQ(copy.next(), random.next());
}

}  // namespace
}  // namespace bifocal::training
