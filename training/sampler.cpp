#include "training/sampler.h"

#include <algorithm>
#include <numeric>

#include "bifocal/error.h"
#include "training/random.h"

namespace bifocal::training {

Sampler::Sampler(std::size_t samples, std::size_t batch_size, std::uint64_t seed)
    : samples_(samples), batch_size_(std::min(batch_size, samples)), seed_(seed) {
  if (batch_size_ == 0)
    throw Error(ErrorCode::kInvalidArgument, "there is nothing to train on: no samples are left");
  batches_per_epoch_ = static_cast<std::int64_t>(samples_ / batch_size_);
}

std::vector<std::size_t> Sampler::batch(std::int64_t number) {
  if (const std::int64_t epoch = epoch_of(number); epoch != epoch_) {
    epoch_ = epoch;
    order_.resize(samples_);
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    Random(seed_, static_cast<std::uint64_t>(epoch)).shuffle(order_);
  }
  const auto first =
      order_.begin() + (number % batches_per_epoch_) * static_cast<std::int64_t>(batch_size_);
  return {first, first + static_cast<std::int64_t>(batch_size_)};
}

}  // namespace bifocal::training
