#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "training/augmentation.h"
#include "training/records.h"
#include "training/trainable.h"
#include "vision/preprocess.h"

namespace bifocal::training {

// Decodes and augments the images of batches on threads of its own while the batch before trains.
// A picture's random numbers are those of its sample and epoch, so that the number of threads
// changes no pixel. prepare() and take() are for one thread; `records` must outlive the loader.
class ImageLoader {
 public:
  ImageLoader(const RecordSet& records, const vision::Preprocess& preprocess,
              const Augmentation& augmentation, std::size_t threads);
  ~ImageLoader();
  ImageLoader(const ImageLoader&) = delete;
  ImageLoader& operator=(const ImageLoader&) = delete;

  // Begins with the images of a batch: records[sample] of each of its samples. A batch that was
  // begun already is not begun again.
  void prepare(const Batch& batch);
  // Normalised pixels [B, 3, H, W] float32, channels last in memory, once they are all there.
  // Throws Error as reading and decoding do, naming the record.
  at::Tensor take(const Batch& batch);

 private:
  struct Pending {
    Batch batch;
    at::Tensor pixels;
    std::size_t left = 0;  // images not yet done
    std::exception_ptr failure;
  };
  struct Job {
    std::shared_ptr<Pending> pending;
    std::size_t index;  // in the batch
  };

  void work();
  void load(Pending& pending, std::size_t index) const;

  const RecordSet& records_;
  vision::Preprocess preprocess_;
  Augmentation augmentation_;
  std::mutex mutex_;
  std::condition_variable jobs_changed_, batch_done_;
  std::map<std::int64_t, std::shared_ptr<Pending>> pending_;  // by the batch's number
  std::deque<Job> jobs_;
  bool closing_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace bifocal::training
