#pragma once

#include <cstddef>
#include <vector>

#include "bifocal/values.h"

namespace bifocal::engine {

// One row of a forward pass: an item, and the window of its text where it has one.
struct Row {
  std::size_t item = 0;
  std::size_t window = 0;
  Side side = Side::kFused;
  std::size_t tokens = 0;  // 0 without text
};

// Rows of one side, similar in length, that go through the model together.
using Batch = std::vector<Row>;

struct BatchLimits {
  std::size_t max_images = 8;    // batching images gains little on a CPU and costs memory
  std::size_t max_tokens = 512;  // rows times the longest of them: padding counts
};

// Every row is in exactly one batch; each batch keeps to the limits unless it is a single row.
// Deterministic: depends on the rows alone.
std::vector<Batch> plan_batches(std::vector<Row> rows, const BatchLimits& limits = {});

}  // namespace bifocal::engine
