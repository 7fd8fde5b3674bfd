#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bifocal::training {

// Every sample once an epoch, in an order drawn from seed and epoch, in whole batches: what is left
// over is dropped, other samples in each epoch. Batches are numbered through all epochs, and each
// is a function of its number alone: a number is the whole state. Not thread-safe.
class Sampler {
 public:
  // Where there are fewer samples than `batch_size`, a batch is all of them. Throws
  // Error(kInvalidArgument) without samples.
  Sampler(std::size_t samples, std::size_t batch_size, std::uint64_t seed);

  std::size_t batch_size() const noexcept { return batch_size_; }
  std::int64_t batches_per_epoch() const noexcept { return batches_per_epoch_; }
  std::int64_t epoch_of(std::int64_t batch) const noexcept { return batch / batches_per_epoch_; }
  std::vector<std::size_t> batch(std::int64_t number);

 private:
  std::size_t samples_, batch_size_;
  std::int64_t batches_per_epoch_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;         // whose order is at hand
  std::vector<std::size_t> order_;  // [samples]
};

}  // namespace bifocal::training
