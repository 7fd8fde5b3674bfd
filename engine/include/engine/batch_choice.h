#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "bifocal/values.h"
#include "engine/task.h"

namespace bifocal::engine {

// What decides which rows may share a forward pass. A row is an item, or one window of its text.
struct RowShape {
  const void* model = nullptr;
  Task task;
  Side side = Side::kFused;
  std::size_t tokens = 0;  // 0 without text
};

struct BatchLimits {
  std::size_t max_images = 4;    // batching images gains little on a CPU and costs memory
  std::size_t max_rows = 32;     // of text
  std::size_t max_tokens = 512;  // rows times the longest of them: padding counts
};

// The next batch out of rows in the order that they became ready: their indices, rising; the oldest
// is always among them. The rest has its shape, lengths near its own, and keeps to the limits,
// unless the oldest alone passes them. Of many that fit, a worker takes its share, so that the
// other `workers` find some. Deterministic; empty where there are no rows.
std::vector<std::size_t> choose_batch(std::span<const RowShape> rows, const BatchLimits& limits,
                                      std::size_t workers);

}  // namespace bifocal::engine
