#include "training/gradient_buckets.h"

#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <utility>

namespace bifocal::training {

struct GradientBuckets::Bucket {
  std::vector<at::Tensor> parameters;
  at::Tensor flat;      // [numbers of all, and one for each: whether any rank has a gradient of it]
  std::size_t waiting;  // parameters whose gradient is not complete yet
  std::unique_ptr<ProcessGroup::Sum> sum;

  std::int64_t size() const {
    std::int64_t numbers = 0;
    for (const at::Tensor& parameter : parameters) numbers += parameter.numel();
    return numbers;
  }
};

struct GradientBuckets::Hook : torch::autograd::PostAccumulateGradHook {
  Hook(GradientBuckets& all, std::size_t own) : buckets(all), bucket(own) {}
  void operator()(const torch::autograd::Variable& /*parameter*/) override {
    buckets.became_ready(bucket);
  }
  GradientBuckets& buckets;
  std::size_t bucket;
};

GradientBuckets::GradientBuckets(const ProcessGroup& group,
                                 const std::vector<ParameterGroup>& groups,
                                 std::size_t bucket_bytes)
    : group_(group) {
  if (group.size() == 1) return;
  std::size_t bytes = bucket_bytes;
  for (auto one = groups.rbegin(); one != groups.rend(); ++one)
    for (auto named = one->parameters.rbegin(); named != one->parameters.rend(); ++named) {
      if (bytes >= bucket_bytes) {
        buckets_.emplace_back();
        bytes = 0;
      }
      buckets_.back().parameters.push_back(named->parameter);
      bytes += named->parameter.nbytes();
    }
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    const auto marks = static_cast<std::int64_t>(bucket.parameters.size());
    bucket.flat = at::zeros({bucket.size() + marks}, bucket.parameters.front().options());
    for (const at::Tensor& parameter : bucket.parameters)
      torch::autograd::impl::set_post_acc_grad_hooks(parameter, std::make_unique<Hook>(*this, i));
  }
}

GradientBuckets::~GradientBuckets() {
  for (const Bucket& bucket : buckets_)
    for (const at::Tensor& parameter : bucket.parameters)
      torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
}

void GradientBuckets::arm() {
  for (Bucket& bucket : buckets_) bucket.waiting = bucket.parameters.size();
  next_ = 0;
  armed_ = true;
}

void GradientBuckets::became_ready(std::size_t bucket) {
  if (!armed_) return;
  --buckets_[bucket].waiting;
  // In their order on every rank, whatever the order in which they become whole.
  while (next_ < buckets_.size() && buckets_[next_].waiting == 0) send(buckets_[next_++]);
}

void GradientBuckets::send(Bucket& bucket) const {
  const c10::NoGradGuard no_grad;
  bucket.flat.zero_();
  std::int64_t at = 0;
  std::int64_t mark = bucket.size();
  for (const at::Tensor& parameter : bucket.parameters) {
    const at::Tensor& gradient = parameter.grad();
    if (gradient.defined()) {
      bucket.flat.narrow(0, at, parameter.numel()).copy_(gradient.reshape(-1));
      bucket.flat[mark].fill_(1);
    }
    at += parameter.numel();
    ++mark;
  }
  bucket.sum = group_.begin_sum(bucket.flat);
}

void GradientBuckets::finish() {
  armed_ = false;
  // What backward did not reach completes no bucket.
  while (next_ < buckets_.size()) send(buckets_[next_++]);
  const c10::NoGradGuard no_grad;
  for (Bucket& bucket : buckets_) {
    bucket.sum->wait();
    bucket.sum.reset();
    const std::int64_t numbers = bucket.size();
    const at::Tensor marks = bucket.flat.narrow(0, numbers, bucket.flat.numel() - numbers);
    at::Tensor mean = bucket.flat.narrow(0, 0, numbers);
    mean.div_(static_cast<double>(group_.size()));
    std::int64_t at = 0, mark = 0;
    for (at::Tensor& parameter : bucket.parameters) {
      const at::Tensor part = mean.narrow(0, at, parameter.numel()).view_as(parameter);
      if (parameter.grad().defined())
        parameter.mutable_grad().copy_(part);
      else if (marks[mark].item<float>() > 0)
        parameter.mutable_grad() = part.clone();
      at += parameter.numel();
      ++mark;
    }
  }
}

}  // namespace bifocal::training
