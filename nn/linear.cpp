#include "nn/linear.h"

#include <ATen/ops/empty.h>

#include <cmath>

namespace bifocal::nn {
namespace {

thread_local int following = 0;

}  // namespace

WeightsFollow::WeightsFollow() { ++following; }
WeightsFollow::~WeightsFollow() { --following; }

at::Tensor zero_weight(at::IntArrayRef sizes) {
  at::Tensor weight = at::empty(sizes);
  return following > 0 ? weight : weight.zero_();
}

at::Tensor uniform_weight(at::IntArrayRef sizes, double bound) {
  at::Tensor weight = at::empty(sizes);
  return following > 0 ? weight : weight.uniform_(-bound, bound);
}

at::Tensor normal_weight(at::IntArrayRef sizes, double deviation) {
  at::Tensor weight = at::empty(sizes);
  return following > 0 ? weight : weight.normal_(0, deviation);
}

LinearImpl::LinearImpl(std::int64_t in, std::int64_t out) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  weight = register_parameter("weight", uniform_weight({out, in}, bound));
  bias = register_parameter("bias", uniform_weight({out}, bound));
}

}  // namespace bifocal::nn
