#include "engine/worker_pool.h"

#include <ATen/Parallel.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <utility>

namespace bifocal::engine {
namespace {

// hardware_concurrency() counts the machine's cores; a container or taskset may allow fewer.
int allowed_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0)
    return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  return std::max(1, CPU_COUNT(&allowed));
}

}  // namespace

WorkerPool::WorkerPool(int threads) {
  const int count = threads > 0 ? threads : allowed_cores();
  workers_.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) workers_.emplace_back([this] { work(); });
}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void WorkerPool::work() {
  at::set_num_threads(1);  // a setting of the thread that calls it
  for (;;) {
    std::function<void()> next;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      next = std::move(queue_.front());
      queue_.pop_front();
    }
    next();
  }
}

void WorkerPool::for_each(std::size_t count, const std::function<void(std::size_t)>& task) {
  if (count == 0) return;
  // One queue entry a worker, each taking indices until none is left: a slow index delays nobody.
  const std::size_t lanes = std::min(count, workers_.size());
  std::atomic<std::size_t> next{0};
  std::latch done(static_cast<std::ptrdiff_t>(lanes));
  const auto lane = [&] {
    for (std::size_t i = next++; i < count; i = next++) task(i);
    done.count_down();
  };
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < lanes; ++i) queue_.emplace_back(lane);
  }
  wake_.notify_all();
  done.wait();
}

}  // namespace bifocal::engine
