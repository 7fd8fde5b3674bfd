#pragma once

#include <ATen/ops/tensor.h>

#include <cstdint>
#include <vector>

namespace bifocal::training {

// [n] int64, for index_select() and index().
inline at::Tensor index_of(const std::vector<std::int64_t>& rows) {
  return at::tensor(rows, at::kLong);
}

}  // namespace bifocal::training
