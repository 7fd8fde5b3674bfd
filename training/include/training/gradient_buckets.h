#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "training/parameter_group.h"
#include "training/process_group.h"

namespace bifocal::training {

// Averages gradients over the ranks of a group while backward still runs (Li et al. 2020, "PyTorch
// Distributed"): parameters are gathered in buckets in the reverse of their order, which is about
// the order in which backward reaches them, and a bucket travels as soon as it is whole. In a group
// of one it does nothing.
//
// For each step: arm() before the backward pass whose end completes the gradients, finish() after
// it. Used by the thread that runs backward. The parameters outlive it.
class GradientBuckets {
 public:
  static constexpr std::size_t kBucketBytes = 4 << 20;

  GradientBuckets(const ProcessGroup& group, const std::vector<ParameterGroup>& groups,
                  std::size_t bucket_bytes = kBucketBytes);
  ~GradientBuckets();

  void arm();
  // Afterwards every gradient is the mean over all ranks, and there is one wherever any rank had
  // one. Throws Error(kIo) where a rank is lost.
  void finish();

 private:
  struct Bucket;
  struct Hook;
  void became_ready(std::size_t bucket);
  void send(Bucket& bucket) const;

  const ProcessGroup& group_;
  std::vector<Bucket> buckets_;
  std::size_t next_ = 0;  // the first bucket that has not travelled yet
  bool armed_ = false;
};

}  // namespace bifocal::training
