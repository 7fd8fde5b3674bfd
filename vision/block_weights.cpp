#include "vision/block_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/sigmoid.h>

namespace bifocal::vision {
namespace {

// Stochastic depth (Huang et al. 2016), a sample at a time; the survivors are scaled up so that the
// expectation stays.
at::Tensor drop_samples(const at::Tensor& x, double probability) {
  if (probability <= 0) return x;
  const double keep = 1 - probability;
  const at::Tensor kept = (at::rand({x.size(0), 1, 1, 1}, x.options()) + keep).floor();
  return x * (kept / keep);
}

}  // namespace

// As linears: packed as 1 x 1 convolutions they take more than twice as long.
at::Tensor SqueezeExcitationWeights::gate(const at::Tensor& x) const {
  const at::Tensor mean = x.mean(at::IntArrayRef({2, 3}));  // [B, c]
  const at::Tensor reduced = activate(at::linear(mean, reduce_weight, reduce_bias), activation);
  return at::sigmoid(at::linear(reduced, expand_weight, expand_bias)).unsqueeze(-1).unsqueeze(-1);
}

SqueezeExcitationWeights SqueezeExcitationWeights::compiled(nn::Precision /*precision*/) const {
  return {reduce_weight.detach().clone(), reduce_bias.detach().clone(),
          expand_weight.detach().clone(), expand_bias.detach().clone(), activation};
}

at::Tensor BlockWeights::forward(const at::Tensor& x) const {
  at::Tensor y = expand ? expand->forward(x) : x;
  if (depthwise) y = depthwise->forward(y);
  if (se) y = in_place ? y.mul_(se->gate(y)) : y * se->gate(y);
  if (!residual) return project.forward(y);
  if (in_place && !project.activation) {
    at::Tensor sum = x;
    project.add_to(sum, y);
    return sum;
  }
  y = project.forward(y);
  return x + drop_samples(y, drop_connect);
}

BlockWeights BlockWeights::compiled(nn::Precision precision) const {
  BlockWeights copy = *this;
  if (expand) copy.expand = expand->compiled(precision);
  if (depthwise) copy.depthwise = depthwise->compiled(precision);
  if (se) copy.se = se->compiled(precision);
  copy.project = project.compiled(precision);
  copy.drop_connect = 0;
  copy.in_place = true;
  return copy;
}

}  // namespace bifocal::vision
