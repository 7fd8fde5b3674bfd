#pragma once

#include <ATen/ops/tensor.h>

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

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

}  // namespace bifocal::training
