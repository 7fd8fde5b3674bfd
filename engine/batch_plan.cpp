#include "engine/batch_plan.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace bifocal::engine {
namespace {

bool fits(const Batch& batch, const Row& row, const BatchLimits& limits) {
  if (batch.empty()) return true;
  if (batch.front().side != row.side) return false;
  const std::size_t rows = batch.size() + 1;
  if (row.side != Side::kText && rows > limits.max_images) return false;
  return rows * row.tokens <=
         limits.max_tokens;  // rows come in order of length: this is the longest
}

}  // namespace

std::vector<Batch> plan_batches(std::vector<Row> rows, const BatchLimits& limits) {
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.side, a.tokens, a.item, a.window) <
           std::tie(b.side, b.tokens, b.item, b.window);
  });
  std::vector<Batch> batches;
  for (Row& row : rows) {
    if (batches.empty() || !fits(batches.back(), row, limits)) batches.emplace_back();
    batches.back().push_back(row);
  }
  return batches;
}

}  // namespace bifocal::engine
