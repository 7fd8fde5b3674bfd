#pragma once

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bifocal/error.h"
#include "bifocal/options.h"
#include "current.h"
#include "engine/engine.h"
#include "engine/session.h"
#include "search_index.h"

namespace bifocal::http {

// A loaded bundle, and the index of its vectors.
struct Served {
  std::shared_ptr<const engine::Session> session;
  std::shared_ptr<SearchIndex> index;
};

// What is served, and whether it works. Thread-safe.
class ModelHost {
 public:
  struct IndexOptions {
    std::filesystem::path file;  // empty: none
    std::size_t capacity = 0;
    std::size_t hnsw_threshold = 0;
  };

  // Loads and checks the bundle, and opens the index. Throws Error as Session::open(), check() and
  // SearchIndex::load() do.
  ModelHost(std::filesystem::path bundle, const LoadOptions& load,
            const engine::EngineOptions& engine, IndexOptions index);
  ~ModelHost();
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  // Requests that began with one bundle end with it, whatever is loaded meanwhile.
  std::shared_ptr<const Served> served() const { return served_.load(); }
  engine::Engine& engine() const noexcept { return *engine_; }

  // Reads the bundle and the index's file again from where they were and serves them from now on.
  // Items that were added to the index stay where the model gives the vectors that it gave; vectors
  // of another model mean nothing, and how many were dropped for that is returned. Throws the Error
  // of what does not load or does not pass its check; the old ones then go on serving. Blocks; one
  // at a time.
  std::size_t reload();

  // Nothing where a forward pass came back within the last seconds; else what is wrong. A pass is
  // made each second for this, through the queue like anybody's.
  std::optional<std::string> why_not_ready() const;

 private:
  std::shared_ptr<const Served> open(const Served* before, std::size_t& dropped);
  void watch();

  const std::filesystem::path bundle_;
  const LoadOptions load_;
  const IndexOptions index_;
  std::shared_ptr<engine::Engine> engine_;
  std::vector<float> probe_;  // what the served model gives for its check; of reload()
  Current<const Served> served_;
  std::mutex reload_mutex_;

  mutable std::mutex watch_mutex_;
  std::condition_variable watch_wake_;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point last_success_ = std::chrono::steady_clock::now();
  std::string last_failure_;
  std::thread watcher_;
};

}  // namespace bifocal::http
