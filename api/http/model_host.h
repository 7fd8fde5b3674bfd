#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "bifocal/error.h"
#include "bifocal/options.h"
#include "engine/engine.h"
#include "engine/session.h"

namespace bifocal::http {

// The bundle that is served, and whether it works. Thread-safe.
class ModelHost {
 public:
  // Loads and checks the bundle. Throws Error as Session::open() and check() do.
  ModelHost(std::filesystem::path bundle, const LoadOptions& load,
            const engine::EngineOptions& engine);
  ~ModelHost();
  ModelHost(const ModelHost&) = delete;
  ModelHost& operator=(const ModelHost&) = delete;

  // Requests that began with one session end with it, whatever is loaded meanwhile.
  std::shared_ptr<const engine::Session> session() const { return session_.load(); }
  engine::Engine& engine() const noexcept { return *engine_; }

  // Reads the bundle again from where it was and serves it from now on. Throws the Error of what
  // does not load or does not pass its check; the old one then goes on serving. Blocks; one at a
  // time.
  void reload();

  // Nothing where a forward pass came back within the last seconds; else what is wrong. A pass is
  // made each second for this, through the queue like anybody's.
  std::optional<std::string> why_not_ready() const;

 private:
  void watch();

  const std::filesystem::path bundle_;
  const LoadOptions load_;
  std::shared_ptr<engine::Engine> engine_;
  std::atomic<std::shared_ptr<const engine::Session>> session_;
  std::mutex reload_mutex_;

  mutable std::mutex watch_mutex_;
  std::condition_variable watch_wake_;
  bool stopping_ = false;
  std::chrono::steady_clock::time_point last_success_ = std::chrono::steady_clock::now();
  std::string last_failure_;
  std::thread watcher_;
};

}  // namespace bifocal::http
