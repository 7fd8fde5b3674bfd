#include "training/weight_average.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <string>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::training {

WeightAverage::WeightAverage(nn::StateDict live, double decay)
    : live_(std::move(live)), decay_(decay) {
  const c10::NoGradGuard no_grad;
  for (const auto& [name, tensor] : live_)
    average_.emplace(
        name, decay_ > 0 && tensor.is_floating_point() ? tensor.detach().clone() : tensor.detach());
}

void WeightAverage::update() {
  if (decay_ <= 0) return;
  const c10::NoGradGuard no_grad;
  const auto n = static_cast<double>(++updates_);
  const double decay = std::min(decay_, (1 + n) / (10 + n));
  for (auto& [name, tensor] : average_)
    if (tensor.is_floating_point()) tensor.lerp_(live_.find(name)->second.detach(), 1 - decay);
}

void WeightAverage::load(const nn::StateDict& average, std::int64_t updates) {
  updates_ = updates;
  if (decay_ > 0) copy_weights(average, average_);
}

void copy_weights(const nn::StateDict& from, nn::StateDict& into) {
  const c10::NoGradGuard no_grad;
  for (auto& [name, tensor] : into) {
    const auto found = from.find(name);
    if (found == from.end() || found->second.sizes() != tensor.sizes())
      throw Error(ErrorCode::kInvalidBundle,
                  "saved weights do not fit what is trained: " + name +
                      (found == from.end() ? " is missing" : " has another shape"));
    tensor.copy_(found->second);
  }
}

nn::StateDict copy_of(const nn::StateDict& weights) {
  nn::StateDict copy;
  for (const auto& [name, tensor] : weights) copy.emplace(name, tensor.detach().clone());
  return copy;
}

BorrowedWeights::BorrowedWeights(nn::StateDict live, const nn::StateDict& values)
    : live_(std::move(live)), own_(copy_of(live_)) {
  copy_weights(values, live_);
}

BorrowedWeights::~BorrowedWeights() {
  const c10::NoGradGuard no_grad;
  for (auto& [name, tensor] : live_) tensor.copy_(own_.find(name)->second);
}

}  // namespace bifocal::training
