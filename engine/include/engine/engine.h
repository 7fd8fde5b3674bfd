#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "engine/batch_choice.h"
#include "engine/job.h"

namespace bifocal::engine {

struct AdmissionLimits {
  std::size_t max_items = 0;              // waiting at once, of all callers; 0: no limit
  std::size_t max_bytes = 0;              // of their encoded images and texts; 0: no limit
  std::chrono::milliseconds max_wait{0};  // estimated; 0: no limit
};

// One forward pass, for whoever counts them.
struct BatchReport {
  std::size_t rows = 0;
  std::size_t images = 0;
  std::size_t tokens = 0;  // padding counted
  Clock::duration took{};
};

struct EngineOptions {
  // Threads of forward passes; 0: one for each core that may be used, or for threads_per_worker.
  int workers = 0;
  int threads_per_worker = 1;  // that share each of its passes: sooner, and fewer at a time
  int preparers = 0;           // threads that decode and tokenise; 0: as many as compute
  bool pin_workers = false;    // each, and what shares its passes, to a core of its own
  BatchLimits batch;
  // How long an idle worker waits for a batch to fill; 0: it takes what is there. Under load
  // batches fill by themselves.
  std::chrono::microseconds batch_delay{0};
  std::function<void(const BatchReport&)> on_batch;  // called by workers; must not throw or block
};

struct EngineLoad {
  std::size_t items = 0;  // admitted and not done
  std::size_t bytes = 0;
  std::chrono::milliseconds
      wait{};  // of a new client's item, estimated from the measured drain rate
};

class JobState;

// A job that was admitted. Copies stand for the same job; the job goes on without them.
class Ticket {
 public:
  Ticket() = default;

 private:
  friend class Engine;
  explicit Ticket(std::weak_ptr<JobState> job) : job_(std::move(job)) {}
  std::weak_ptr<JobState> job_;
};

// Decodes and tokenises on one set of threads, and runs forward passes on another, one intra-op
// thread each: on a CPU, one worker a core beats one worker on all cores. Batches across jobs by
// shape; see choose_batch(). Clients take turns; see FairTurns. Thread-safe. Knows no model: each
// job brings its own, so that a new one can serve while the last jobs of the old one end.
//
// Bounded: prepared items wait only as far as keeps the workers busy, and submit() refuses what
// would pass the limits it is given. Submitting never blocks.
class Engine {
 public:
  explicit Engine(const EngineOptions& options);
  // Fails what has not begun with Error(kUnavailable), waits for what has, calling done() for all.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Without `limits` nothing is refused. Throws Error(kOverloaded) with retry_after() where a limit
  // would be passed or the deadline cannot be met by the estimate; done() is then not called.
  Ticket submit(JobRequest request, const AdmissionLimits* limits = nullptr);

  // Throws Error(kOverloaded) where even the cheapest job of this client that comes in a message of
  // so many bytes would be refused: for a server that would rather not read a body in vain.
  void require_room(const std::string& client, std::size_t bytes,
                    const AdmissionLimits& limits) const;

  // Items not begun fail with Error(kCancelled) and cost nothing more.
  void cancel(const Ticket& ticket);

  EngineLoad load() const;
  std::size_t workers() const noexcept;

 private:
  class Threads;
  std::unique_ptr<Threads> threads_;
};

}  // namespace bifocal::engine
