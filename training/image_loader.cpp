#include "training/image_loader.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>

#include "bifocal/error.h"
#include "vision/codec.h"

namespace bifocal::training {

ImageLoader::ImageLoader(const RecordSet& records, const vision::Preprocess& preprocess,
                         const Augmentation& augmentation, std::size_t threads)
    : records_(records), preprocess_(preprocess), augmentation_(augmentation) {
  for (std::size_t t = 0; t < std::max<std::size_t>(threads, 1); ++t)
    threads_.emplace_back([this] { work(); });
}

ImageLoader::~ImageLoader() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  jobs_changed_.notify_all();
}

void ImageLoader::prepare(const Batch& batch) {
  const std::lock_guard lock(mutex_);
  if (pending_.contains(batch.number)) return;
  auto pending = std::make_shared<Pending>();
  pending->batch = batch;
  pending->left = batch.samples.size();
  pending->pixels = at::empty(
      {static_cast<std::int64_t>(batch.samples.size()), 3, preprocess_.height, preprocess_.width},
      at::TensorOptions(at::kFloat), at::MemoryFormat::ChannelsLast);
  pending_.emplace(batch.number, pending);
  for (std::size_t i = 0; i < batch.samples.size(); ++i) jobs_.push_back({pending, i});
  jobs_changed_.notify_all();
}

at::Tensor ImageLoader::take(const Batch& batch) {
  prepare(batch);
  std::unique_lock lock(mutex_);
  const std::shared_ptr<Pending> pending = pending_.at(batch.number);
  batch_done_.wait(lock, [&] { return pending->left == 0; });
  pending_.erase(batch.number);
  if (pending->failure) std::rethrow_exception(pending->failure);
  return pending->pixels;
}

void ImageLoader::work() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      jobs_changed_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
      if (closing_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    std::exception_ptr failure;
    try {
      load(*job.pending, job.index);
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    if (failure && !job.pending->failure) job.pending->failure = failure;
    if (--job.pending->left == 0) batch_done_.notify_all();
  }
}

void ImageLoader::load(Pending& pending, std::size_t index) const {
  const std::size_t sample = pending.batch.samples[index];
  // A stream of its own: what else is drawn for the sample does not move the picture's.
  Random random(pending.batch.random_of(sample).next(), /*stream=*/1);
  const auto values = static_cast<std::size_t>(3 * preprocess_.height * preprocess_.width);
  float* out = pending.pixels.mutable_data_ptr<float>() + index * values;  // [H, W, 3]
  try {
    augment_into(vision::decode(records_.read_image(sample)), augmentation_, preprocess_, random,
                 {out, values});
  } catch (const Error& error) {
    throw Error(error.code(), records_[sample].id + ": " + error.message());
  }
}

}  // namespace bifocal::training
