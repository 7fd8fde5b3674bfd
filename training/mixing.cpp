#include "training/mixing.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <cmath>

#include "training/random_variates.h"

namespace bifocal::training {
namespace {

struct Range {
  std::int64_t first, last;
};

// `length` around a centre drawn anywhere, cut at the border.
Range cut_range(std::int64_t size, std::int64_t length, Random& random) {
  const auto centre = static_cast<std::int64_t>(random.below(static_cast<std::size_t>(size)));
  return {std::clamp<std::int64_t>(centre - length / 2, 0, size),
          std::clamp<std::int64_t>(centre + (length + 1) / 2, 0, size)};
}

// Each item with the one as far from the other end.
at::Tensor blended(const at::Tensor& x, double share) {
  return share == 1 ? x : x * share + x.flip(0) * (1 - share);
}

}  // namespace

Mixture draw_mixture(const Mixing& mixing, std::int64_t height, std::int64_t width,
                     Random& random) {
  Mixture mixture;
  if (!mixing.enabled() || !chance(random, mixing.probability)) return mixture;
  const bool both = mixing.mixup_alpha > 0 && mixing.cutmix_alpha > 0;
  const bool cutmix = both ? chance(random, mixing.switch_probability) : mixing.cutmix_alpha > 0;
  const double alpha = cutmix ? mixing.cutmix_alpha : mixing.mixup_alpha;
  mixture.share = beta(random, alpha, alpha);
  if (!cutmix) return mixture;
  const double side = std::sqrt(1 - mixture.share);
  const auto part = [side](std::int64_t size) {
    return static_cast<std::int64_t>(static_cast<double>(size) * side);
  };
  const Range rows = cut_range(height, part(height), random);
  const Range columns = cut_range(width, part(width), random);
  mixture.top = rows.first;
  mixture.bottom = rows.last;
  mixture.left = columns.first;
  mixture.right = columns.last;
  // What the border cut off is not mixed in.
  const auto area = static_cast<double>((rows.last - rows.first) * (columns.last - columns.first));
  mixture.share = 1 - area / static_cast<double>(height * width);
  return mixture;
}

at::Tensor mix_pixels(const at::Tensor& pixels, const Mixture& mixture) {
  if (!mixture.cuts()) return blended(pixels, mixture.share);
  at::Tensor mixed = pixels.clone();
  const auto rectangle = [&mixture](const at::Tensor& of) {
    return of.slice(2, mixture.top, mixture.bottom).slice(3, mixture.left, mixture.right);
  };
  rectangle(mixed).copy_(rectangle(pixels).flip(0));
  return mixed;
}

at::Tensor mix_targets(const at::Tensor& targets, const Mixture& mixture) {
  return blended(targets, mixture.share);
}

at::Tensor soft_targets(const at::Tensor& classes_of, std::int64_t classes, double smoothing) {
  const double off = smoothing / static_cast<double>(classes);
  return at::full({classes_of.size(0), classes}, off, at::kFloat)
      .scatter_(1, classes_of.unsqueeze(1), 1 - smoothing + off);
}

}  // namespace bifocal::training
