#pragma once

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "api_keys.h"
#include "byte_budget.h"
#include "current.h"
#include "image_fetcher.h"
#include "log.h"
#include "message.h"
#include "metrics.h"
#include "model_host.h"
#include "rate_limiter.h"
#include "router.h"
#include "settings.h"
#include "work.h"

namespace bifocal::http {

// One request on its way from its header to its answer.
struct Exchange {
  Request request;
  std::string peer;  // the address that it came from
  bool is_local = false;
  const Route* route = nullptr;
  std::string client;  // whose turn it is: the key's name, or the address
  std::optional<Clock::time_point> deadline;
  std::optional<Response> refusal;  // decided by the header alone: the body need not be read
  std::optional<Error> error;
  std::shared_ptr<const Served> served;  // kept from the first look to the last
  engine::JobTimes times;
  std::size_t items = 0;
  std::size_t request_bytes = 0;
};

// What is answered to whom: routes, keys, limits, the model, and the log. Knows neither sockets nor
// JSON. Thread-safe.
class Service {
 public:
  // Loads the bundle, the index and the keys. Throws Error.
  Service(const Settings& settings, Log& log);
  ~Service();

  // By the header alone, with an empty body: who asks for what, and whether it is refused.
  Exchange begin(Request head, std::string peer, bool is_local,
                 std::optional<std::uint64_t> content_length);
  // Decodes the body by its content-encoding. Throws Error.
  void decode_body(Exchange& exchange, ByteBudget::Share& share) const;
  // Whatever goes wrong becomes an answer. Cancelling it calls off the work.
  boost::asio::awaitable<Response> answer(Exchange& exchange);
  // The answer to an error that came up outside of answer().
  Response refuse(Exchange& exchange, const Error& error) const;
  // Counts and logs what was answered.
  void finished(const Exchange& exchange, int status, std::size_t response_bytes);

  void reload();  // bundle, index and keys; throws Error, and keeps what was
  // Why requests should go elsewhere; nothing when a forward pass has worked within the last
  // seconds.
  std::optional<std::string> why_not_ready() const;
  void begin_draining() noexcept { draining_ = true; }
  bool draining() const noexcept { return draining_; }

  const Settings& settings() const noexcept { return settings_; }
  ByteBudget& bodies() noexcept { return bodies_; }
  Metrics& metrics() noexcept { return metrics_; }
  Log& log() noexcept { return log_; }
  ModelHost& host() noexcept { return host_; }

 private:
  void check_access(Exchange& exchange);
  void check_load(const Exchange& exchange, std::uint64_t content_length) const;
  void find_deadline(Exchange& exchange) const;
  void add_standard_headers(const Exchange& exchange, Response& response) const;
  std::optional<Response> preflight(const Request& request) const;
  Context context(const Served& served);
  boost::asio::awaitable<Response> run(Exchange& exchange, Work work);
  boost::asio::awaitable<Response> run_slowly(std::function<Response()> work);
  template <typename T, typename Start>
  boost::asio::awaitable<Response> run_model(Exchange& exchange, ModelWork<T> work, Start start);
  boost::asio::awaitable<void> fetch_images(std::vector<WorkItem>& items);

  const Settings settings_;
  Log& log_;
  Metrics metrics_;
  ModelHost host_;
  std::vector<std::string> model_names_;
  RequestLimits limits_;
  const std::function<std::optional<std::string>()> why_not_ready_ = [this] {
    return why_not_ready();
  };
  engine::AdmissionLimits admission_;
  ByteBudget bodies_;
  RateLimiter rates_;
  ImageFetcher fetcher_;
  Current<const ApiKeys> keys_;
  Router router_;
  std::atomic<bool> draining_{false};
  boost::asio::thread_pool slow_{2};
};

}  // namespace bifocal::http
