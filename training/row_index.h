#pragma once

#include <ATen/ops/tensor.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

#include "training/random.h"

namespace bifocal::training {

// [n] int64, for index_select() and index() of what is on `device`.
inline at::Tensor index_of(const std::vector<std::int64_t>& rows,
                           const at::Device& device = at::kCPU) {
  return at::tensor(rows, at::kLong).to(device);
}

// first, ..., last - 1
inline std::vector<std::int64_t> range(std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(last - first));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

// Any of `count` rows but `own`, all alike.
inline std::int64_t other_row(std::int64_t count, std::int64_t own, Random& random) {
  const auto drawn = static_cast<std::int64_t>(random.below(static_cast<std::size_t>(count - 1)));
  return drawn + (drawn >= own ? 1 : 0);
}

}  // namespace bifocal::training
