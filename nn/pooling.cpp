#include "nn/pooling.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
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

namespace {

// Whether its own loops serve: not where autograd must see, nor on another device.
bool is_plain(const at::Tensor& x) {
  const bool learns = at::GradMode::is_enabled() && x.requires_grad();
  return x.scalar_type() == at::kFloat && x.is_cpu() && !learns;
}

// The means of what is valid, an item at a time and its tokens in order: LibTorch's sums are
// regrouped by the shape of the batch, and an item's bits shall not depend on what stands beside
// it.
at::Tensor means(const at::Tensor& tokens, const at::Tensor& valid) {
  const at::Tensor x = tokens.contiguous();  // [B, L, H]
  const at::Tensor kept = valid.defined() ? valid.contiguous() : valid;
  const std::int64_t length = x.size(1);
  const std::int64_t size = x.size(2);
  at::Tensor out = at::zeros({x.size(0), size}, at::kFloat);
  for (std::int64_t item = 0; item < x.size(0); ++item) {
    float* mean = out.mutable_data_ptr<float>() + item * size;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < length; ++i) {
      if (kept.defined() && !kept.const_data_ptr<bool>()[item * length + i]) continue;
      const float* token = x.const_data_ptr<float>() + (item * length + i) * size;
      for (std::int64_t h = 0; h < size; ++h) mean[h] += token[h];
      ++count;
    }
    const auto divisor = static_cast<float>(std::max<std::int64_t>(count, 1));
    for (std::int64_t h = 0; h < size; ++h) mean[h] /= divisor;
  }
  return out;
}

}  // namespace

at::Tensor pool(const at::Tensor& tokens, const at::Tensor& valid, Pooling pooling) {
  if (pooling == Pooling::kCls) return tokens.select(1, 0);
  if (pooling == Pooling::kMean && is_plain(tokens)) return means(tokens, valid);
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
  constexpr double kLeast = 1e-12;
  if (x.dim() == 0 || !is_plain(x)) return x / x.norm(2, -1, /*keepdim=*/true).clamp_min(kLeast);
  at::Tensor out = x.clone(at::MemoryFormat::Contiguous);  // [..., size]
  const std::int64_t size = x.size(-1);
  float* row = out.mutable_data_ptr<float>();
  for (float* const end = row + out.numel(); row != end; row += size) {
    double squares = 0;  // in order, as in means()
    for (std::int64_t i = 0; i < size; ++i) squares += static_cast<double>(row[i]) * row[i];
    const auto norm = static_cast<float>(std::max(std::sqrt(squares), kLeast));
    for (std::int64_t i = 0; i < size; ++i) row[i] /= norm;
  }
  return out;
}

}  // namespace bifocal::nn
