#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace bifocal::nn::cpu {

// Threads that share the steps of one forward pass, so that a single request is answered sooner. A
// team belongs to the thread that made it, and helps that thread alone.
//
// A step's parts are taken one by one by whoever is free: a helper that the system keeps from its
// core delays no part but the one that it holds. Between steps helpers wait on their cores, for
// some microseconds; then they sleep.
class Team {
 public:
  // Starts `threads` - 1 helpers, each of which calls begin(number) first, from 1 upwards.
  explicit Team(int threads, const std::function<void(int)>& begin = {});
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // That of the calling thread; null where it works alone.
  static Team* own() noexcept;

  int threads() const noexcept { return static_cast<int>(helpers_.size()) + 1; }

  // part(0) to part(parts - 1), each once, on any of the threads and at the same time; parts is at
  // most kMostParts. Returns when all are done, and throws what one of them threw. Only for the
  // thread that made the team; a part must not call it.
  template <typename Part>
  void run(int parts, const Part& part) {
    run_parts(
        parts, [](const void* of, int i) { (*static_cast<const Part*>(of))(i); }, &part);
  }
  static constexpr int kMostParts = 0xffff;

 private:
  using Call = void (*)(const void* part, int number);

  void run_parts(int parts, Call call, const void* part);
  void help();
  // Does parts of a step until none is left to take.
  void work(std::uint32_t step);

  // The step's number, how many parts it has and how many were taken: 32, 16 and 16 bits. What is
  // taken is taken of that step: call_ and part_ change only when all of it is done.
  std::atomic<std::uint64_t> taken_{0};
  std::atomic<Call> call_{nullptr};
  std::atomic<const void*> part_{nullptr};
  std::atomic<int> left_{0};  // parts that are not done
  std::atomic<std::uint32_t> step_{0};
  std::atomic<bool> stopping_{false};
  std::mutex failure_mutex_;
  std::exception_ptr failure_;  // the first of a step
  Team* before_ = nullptr;      // the thread's own, which this one stands in for
  std::vector<std::thread> helpers_;
};

}  // namespace bifocal::nn::cpu
