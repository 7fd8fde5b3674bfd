#include "engine/batch_choice.h"

#include <algorithm>

namespace bifocal::engine {
namespace {

std::size_t distance(std::size_t a, std::size_t b) noexcept { return a > b ? a - b : b - a; }

// Padding a short row to a long one wastes what the batch gains.
bool near(std::size_t shortest, std::size_t longest) noexcept {
  return longest <= shortest + shortest / 4 + 4;
}

}  // namespace

std::vector<std::size_t> choose_batch(std::span<const RowShape> rows, const BatchLimits& limits,
                                      std::size_t workers) {
  if (rows.empty()) return {};
  const RowShape& oldest = rows.front();
  std::vector<std::size_t> alike;
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].model == oldest.model && rows[i].task == oldest.task && rows[i].side == oldest.side)
      alike.push_back(i);
  std::stable_sort(alike.begin(), alike.end(), [&](std::size_t a, std::size_t b) {
    return distance(rows[a].tokens, oldest.tokens) < distance(rows[b].tokens, oldest.tokens);
  });

  workers = std::max<std::size_t>(1, workers);
  const std::size_t share = (alike.size() + workers - 1) / workers;
  const std::size_t most =
      std::min(share, oldest.side == Side::kText ? limits.max_rows : limits.max_images);
  std::vector<std::size_t> chosen;
  std::size_t shortest = oldest.tokens, longest = oldest.tokens;
  for (const std::size_t i : alike) {
    if (!chosen.empty() && chosen.size() >= most) break;
    const std::size_t low = std::min(shortest, rows[i].tokens);
    const std::size_t high = std::max(longest, rows[i].tokens);
    if (!chosen.empty() && (!near(low, high) || (chosen.size() + 1) * high > limits.max_tokens))
      continue;
    shortest = low;
    longest = high;
    chosen.push_back(i);
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

}  // namespace bifocal::engine
