#pragma once

#include <cstdint>

#include "nn/weights.h"

namespace bifocal::training {

// The exponential moving average of weights (Polyak and Juditsky 1992, as Tan and Le use it). Its
// decay grows to its full value, min(decay, (1 + n) / (10 + n)) at the n-th update, so that the
// first weights do not linger.
class WeightAverage {
 public:
  // Of the floating-point tensors of `live`, whose memory it goes on reading. A decay of 0: no
  // average, and average() is `live`.
  WeightAverage(nn::StateDict live, double decay);

  void update();
  // The averaged weights; other tensors as they are now.
  const nn::StateDict& average() const noexcept { return average_; }

  std::int64_t updates() const noexcept { return updates_; }
  // To go on from a checkpoint. Throws Error(kInvalidBundle) where a name or shape does not fit.
  void load(const nn::StateDict& average, std::int64_t updates);

 private:
  nn::StateDict live_, average_;
  double decay_;
  std::int64_t updates_ = 0;
};

// Copies `from` into `into`, by name. Throws Error(kInvalidBundle) where a tensor is missing or has
// another shape.
void copy_weights(const nn::StateDict& from, nn::StateDict& into);
// A copy with memory of its own.
nn::StateDict copy_of(const nn::StateDict& weights);

// While one lives, the live weights have the values of others; then their own again, to the bit.
class BorrowedWeights {
 public:
  BorrowedWeights(nn::StateDict live, const nn::StateDict& values);
  ~BorrowedWeights();
  BorrowedWeights(const BorrowedWeights&) = delete;
  BorrowedWeights& operator=(const BorrowedWeights&) = delete;

 private:
  nn::StateDict live_, own_;
};

}  // namespace bifocal::training
