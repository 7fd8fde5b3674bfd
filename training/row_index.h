#pragma once

#include <ATen/ops/tensor.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace bifocal::training {

// [n] int64, for index_select() and index().
inline at::Tensor index_of(const std::vector<std::int64_t>& rows) {
  return at::tensor(rows, at::kLong);
}

// first, ..., last - 1
inline std::vector<std::int64_t> range(std::int64_t first, std::int64_t last) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(last - first));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}

}  // namespace bifocal::training
