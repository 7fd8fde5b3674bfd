#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>

namespace bifocal::nn {

enum class Pooling { kMean, kCls, kMax };
// "mean", "cls", "max"; Error(kUnsupported) for any other.
Pooling pooling_from_name(std::string_view name);
std::string_view name_of(Pooling pooling) noexcept;

// tokens [B, L, H], valid [B, L] bool or undefined -> [B, H]. What stands at an invalid
// position never counts. An item without a valid token gives zeros for mean and max.
at::Tensor pool(const at::Tensor& tokens, const at::Tensor& valid, Pooling pooling);

// Rows to L2 norm 1 along the last dimension; norms below 1e-12 count as 1e-12, as in PyTorch.
at::Tensor l2_normalize(const at::Tensor& x);

}  // namespace bifocal::nn
