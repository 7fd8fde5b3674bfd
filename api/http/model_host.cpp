#include "model_host.h"

#include <numeric>
#include <utility>

namespace bifocal::http {
namespace {

using namespace std::chrono_literals;

constexpr auto kBetweenChecks = 1s;
constexpr auto kReadyWithin = 5s;
// A client of its own: under load the check waits its turn, and no longer.
const std::string kCheckClient = "(readiness check)";

// Vectors of one model differ by float rounding from batch to batch; those of a model that was
// trained on differ by more.
bool same_vector(const std::vector<float>& a, const std::vector<float>& b) {
  constexpr float kCosine = 0.9999f;
  return a.size() == b.size() && std::inner_product(a.begin(), a.end(), b.begin(), 0.0f) > kCosine;
}

}  // namespace

ModelHost::ModelHost(std::filesystem::path bundle, const LoadOptions& load,
                     const engine::EngineOptions& engine, IndexOptions index)
    : bundle_(std::move(bundle)),
      load_(load),
      index_(std::move(index)),
      engine_(std::make_shared<engine::Engine>(engine)) {
  std::size_t dropped = 0;
  served_.store(open(nullptr, dropped));
  watcher_ = std::thread([this] { watch(); });
}

ModelHost::~ModelHost() {
  {
    const std::lock_guard lock(watch_mutex_);
    stopping_ = true;
  }
  watch_wake_.notify_all();
  watcher_.join();
}

std::size_t ModelHost::reload() {
  const std::lock_guard one_at_a_time(reload_mutex_);
  std::size_t dropped = 0;
  served_.store(open(served_.load().get(), dropped));
  return dropped;
}

std::shared_ptr<const Served> ModelHost::open(const Served* before, std::size_t& dropped) {
  auto session =
      std::make_shared<const engine::Session>(engine::Session::open(bundle_, load_, engine_));
  std::vector<float> probe = session->check({kCheckClient, std::nullopt, nullptr}).values;
  const SearchIndex::Settings settings{static_cast<std::size_t>(session->info().embedding_size),
                                       index_.capacity, index_.hnsw_threshold};
  const bool same_model = before != nullptr && same_vector(probe, probe_);
  auto index = same_model ? std::make_shared<SearchIndex>(settings, *before->index)
                          : std::make_shared<SearchIndex>(settings);
  if (!index_.file.empty()) index->load(index_.file);
  dropped = before == nullptr || same_model ? 0 : before->index->added();
  probe_ = std::move(probe);
  return std::make_shared<const Served>(Served{std::move(session), std::move(index)});
}

void ModelHost::watch() {
  std::unique_lock lock(watch_mutex_);
  while (!watch_wake_.wait_for(lock, kBetweenChecks, [this] { return stopping_; })) {
    lock.unlock();
    std::string failure;
    try {
      static_cast<void>(served()->session->check({kCheckClient, std::nullopt, nullptr}));
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
