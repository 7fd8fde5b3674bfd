#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace bifocal::engine {

// Threads of one intra-op thread each: on a CPU, one worker a core beats one worker on all cores.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);  // 0: one for each core that this process may use
  ~WorkerPool();                     // waits for what was given
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Calls task(0) ... task(count - 1), each once, on the workers; returns when all are done. Any
  // number of threads may call at once; their tasks share the workers in the order given. A task
  // must not throw, nor call for_each() of its own pool.
  void for_each(std::size_t count, const std::function<void(std::size_t)>& task);

  std::size_t size() const noexcept { return workers_.size(); }

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace bifocal::engine
