#include "nn/pooling.h"

#include <ATen/TensorOperators.h>

#include <limits>
#include <string>

#include "bifocal/error.h"

namespace bifocal::nn {

Pooling pooling_from_name(std::string_view name) {
  if (name == "mean") return Pooling::kMean;
  if (name == "cls") return Pooling::kCls;
  if (name == "max") return Pooling::kMax;
  throw Error(ErrorCode::kUnsupported,
              "The pooling \"" + std::string(name) + "\" is not one of mean, cls, max");
}

std::string_view name_of(Pooling pooling) noexcept {
  switch (pooling) {
    case Pooling::kMean:
      return "mean";
    case Pooling::kCls:
      return "cls";
    case Pooling::kMax:
      return "max";
  }
  return {};
}

at::Tensor pool(const at::Tensor& tokens, const at::Tensor& valid, Pooling pooling) {
  if (pooling == Pooling::kCls) return tokens.select(1, 0);
  if (!valid.defined()) return pooling == Pooling::kMean ? tokens.mean(1) : tokens.amax(1);
  const at::Tensor padding = valid.logical_not().unsqueeze(-1);  // [B, L, 1]
  // Filled rather than multiplied: whatever stands at a padded position, NaN too, must not count.
  if (pooling == Pooling::kMean) {
    const at::Tensor count = valid.sum(1, /*keepdim=*/true).clamp_min(1);  // [B, 1]
    return tokens.masked_fill(padding, 0).sum(1) / count;
  }
  const at::Tensor highest =
      tokens.masked_fill(padding, -std::numeric_limits<float>::infinity()).amax(1);
  return highest.masked_fill(valid.any(1, /*keepdim=*/true).logical_not(), 0);
}

at::Tensor l2_normalize(const at::Tensor& x) {
  return x / x.norm(2, -1, /*keepdim=*/true).clamp_min(1e-12);
}

}  // namespace bifocal::nn
