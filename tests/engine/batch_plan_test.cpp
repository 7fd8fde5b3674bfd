#include "engine/batch_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <utility>

namespace bifocal::engine {
namespace {

std::vector<Row> random_rows(std::mt19937& random) {
  std::vector<Row> rows;
  const std::size_t count = random() % 200;
  for (std::size_t item = 0; item < count; ++item) {
    const auto side = static_cast<Side>(random() % 3);
    const std::size_t windows = side == Side::kImage ? 1 : 1 + random() % 3;
    for (std::size_t window = 0; window < windows; ++window)
      rows.push_back({item, window, side, side == Side::kImage ? 0 : 2 + random() % 700});
  }
  std::shuffle(rows.begin(), rows.end(), random);
  return rows;
}

TEST(PlanBatches, EveryRowIsInOneBatchOfItsOwnSideWithinTheLimits) {
  std::mt19937 random(3);
  const BatchLimits limits;
  for (int round = 0; round < 200; ++round) {
    const std::vector<Row> rows = random_rows(random);
    std::set<std::pair<std::size_t, std::size_t>> seen;
    for (const Batch& batch : plan_batches(rows, limits)) {
      ASSERT_FALSE(batch.empty());
      std::size_t longest = 0;
      for (const Row& row : batch) {
        EXPECT_EQ(row.side, batch.front().side);
        EXPECT_TRUE(seen.emplace(row.item, row.window).second);
        longest = std::max(longest, row.tokens);
      }
      if (batch.size() == 1) continue;
      EXPECT_LE(batch.size() * longest, limits.max_tokens);
      if (batch.front().side != Side::kText) {
        EXPECT_LE(batch.size(), limits.max_images);
      }
    }
    EXPECT_EQ(seen.size(), rows.size());
  }
}

TEST(PlanBatches, DoesNotDependOnTheOrderGiven) {
  std::mt19937 random(4);
  std::vector<Row> rows = random_rows(random);
  const auto first = plan_batches(rows);
  std::shuffle(rows.begin(), rows.end(), random);
  const auto second = plan_batches(rows);
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i)
    EXPECT_TRUE(std::equal(
        first[i].begin(), first[i].end(), second[i].begin(), second[i].end(),
        [](const Row& a, const Row& b) { return a.item == b.item && a.window == b.window; }));
}

}  // namespace
}  // namespace bifocal::engine
