#include "model_host.h"

#include <malloc.h>

#include <utility>

namespace bifocal::http {
namespace {

using namespace std::chrono_literals;

constexpr auto kBetweenChecks = 1s;
constexpr auto kReadyWithin = 5s;
// A client of its own: under load the check waits its turn, and no longer.
const std::string kCheckClient = "(readiness check)";

std::shared_ptr<const engine::Session> open_checked(const std::filesystem::path& bundle,
                                                    const LoadOptions& load,
                                                    const std::shared_ptr<engine::Engine>& engine) {
  auto session =
      std::make_shared<const engine::Session>(engine::Session::open(bundle, load, engine));
  session->check({kCheckClient, std::nullopt, nullptr});
  // Loading leaves as much freed memory as the weights take; give it back.
  ::malloc_trim(0);
  return session;
}

}  // namespace

ModelHost::ModelHost(std::filesystem::path bundle, const LoadOptions& load,
                     const engine::EngineOptions& engine)
    : bundle_(std::move(bundle)),
      load_(load),
      engine_(std::make_shared<engine::Engine>(engine)),
      session_(open_checked(bundle_, load_, engine_)),
      watcher_([this] { watch(); }) {}

ModelHost::~ModelHost() {
  {
    const std::lock_guard lock(watch_mutex_);
    stopping_ = true;
  }
  watch_wake_.notify_all();
  watcher_.join();
}

void ModelHost::reload() {
  const std::lock_guard one_at_a_time(reload_mutex_);
  session_.store(open_checked(bundle_, load_, engine_));
}

void ModelHost::watch() {
  std::unique_lock lock(watch_mutex_);
  while (!watch_wake_.wait_for(lock, kBetweenChecks, [this] { return stopping_; })) {
    lock.unlock();
    std::string failure;
    try {
      session()->check({kCheckClient, std::nullopt, nullptr});
    } catch (const std::exception& error) {
      failure = error.what();
    }
    lock.lock();
    last_failure_ = failure;
    if (failure.empty()) last_success_ = std::chrono::steady_clock::now();
  }
}

std::optional<std::string> ModelHost::why_not_ready() const {
  const std::lock_guard lock(watch_mutex_);
  if (!last_failure_.empty()) return "the last forward pass failed: " + last_failure_;
  if (std::chrono::steady_clock::now() - last_success_ > kReadyWithin)
    return "no forward pass came back within the last seconds";
  return std::nullopt;
}

}  // namespace bifocal::http
