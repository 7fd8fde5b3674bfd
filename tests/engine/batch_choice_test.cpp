#include "engine/batch_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace bifocal::engine {
namespace {

std::vector<RowShape> random_rows(std::mt19937& random) {
  static constexpr int kModels[2] = {};
  std::vector<RowShape> rows(random() % 120);
  for (RowShape& row : rows) {
    row.model = &kModels[random() % 8 == 0 ? 1 : 0];
    row.task.kind = static_cast<Task::Kind>(random() % 4);
    row.side = static_cast<Side>(random() % 3);
    row.tokens = row.side == Side::kImage ? 0 : 2 + random() % 700;
  }
  return rows;
}

TEST(ChooseBatch, TheOldestIsInItAndTheRestIsAlikeWithinTheLimits) {
  std::mt19937 random(3);
  const BatchLimits limits;
  for (int round = 0; round < 500; ++round) {
    const std::vector<RowShape> rows = random_rows(random);
    const std::size_t workers = 1 + random() % 4;
    const auto batch = choose_batch(rows, limits, workers);
    ASSERT_EQ(batch.empty(), rows.empty());
    if (batch.empty()) continue;
    EXPECT_EQ(batch.front(), 0u);
    EXPECT_TRUE(std::is_sorted(batch.begin(), batch.end()));
    EXPECT_EQ(std::adjacent_find(batch.begin(), batch.end()), batch.end());
    std::size_t longest = 0;
    for (const std::size_t i : batch) {
      ASSERT_LT(i, rows.size());
      EXPECT_EQ(rows[i].model, rows[0].model);
      EXPECT_EQ(rows[i].task, rows[0].task);
      EXPECT_EQ(rows[i].side, rows[0].side);
      longest = std::max(longest, rows[i].tokens);
    }
    if (batch.size() == 1) continue;
    EXPECT_LE(batch.size() * longest, limits.max_tokens);
    EXPECT_LE(batch.size(), rows[0].side == Side::kText ? limits.max_rows : limits.max_images);
  }
}

// Whatever comes in, nobody waits for ever: taking batch after batch empties the queue.
TEST(ChooseBatch, EveryRowIsTakenOnceInTheEnd) {
  std::mt19937 random(4);
  for (int round = 0; round < 50; ++round) {
    std::vector<RowShape> rows = random_rows(random);
    std::size_t batches = 0;
    const std::size_t count = rows.size();
    while (!rows.empty()) {
      const auto batch = choose_batch(rows, {}, 2);
      for (auto i = batch.rbegin(); i != batch.rend(); ++i)
        rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(*i));
      ++batches;
    }
    EXPECT_LE(batches, count);
  }
}

TEST(ChooseBatch, AWorkerLeavesTheOthersTheirShare) {
  std::vector<RowShape> rows(8);
  for (RowShape& row : rows) row = {nullptr, {}, Side::kText, 10};
  EXPECT_EQ(choose_batch(rows, {}, 1).size(), 8u);
  EXPECT_EQ(choose_batch(rows, {}, 2).size(), 4u);
  EXPECT_EQ(choose_batch(rows, {}, 8).size(), 1u);
}

TEST(ChooseBatch, ShortRowsAreNotPaddedToLongOnes) {
  std::vector<RowShape> rows;
  for (const std::size_t tokens : {10, 200, 11, 190, 12, 9})
    rows.push_back({nullptr, {}, Side::kText, tokens});
  EXPECT_EQ(choose_batch(rows, {}, 1), (std::vector<std::size_t>{0, 2, 4, 5}));
}

}  // namespace
}  // namespace bifocal::engine
