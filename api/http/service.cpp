#include "service.h"

#include <openssl/rand.h>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>
#include <utility>

#include "await_answer.h"
#include "bifocal/error.h"
#include "gzip.h"
#include "system_routes.h"
#include "wire/formats.h"
#include "wire/reading.h"

namespace bifocal::http {
namespace {

namespace asio = boost::asio;
using asio::awaitable;

awaitable<Response> already(Response response) { co_return response; }

LoadOptions load_options(const Settings& settings) {
  LoadOptions load;
  load.precision = settings.precision;
  load.tune = settings.tune;
  load.max_image_pixels = settings.max_pixels;
  load.max_image_bytes = settings.max_image_bytes;
  load.scaled_decode = settings.scaled_decode;
  load.verify_checksums = settings.verify_checksums;
  load.packed_weights = settings.packed_weights;
  return load;
}

engine::EngineOptions engine_options(const Settings& settings, Metrics& metrics) {
  engine::EngineOptions options;
  options.workers = settings.threads;
  options.threads_per_worker = settings.threads_per_worker;
  options.preparers = settings.preparers;
  options.pin_workers = settings.pin_workers;
  options.batch = {settings.batch_max_images, settings.batch_max_rows, settings.batch_max_tokens};
  options.batch_delay = settings.batch_delay;
  options.on_batch = [&metrics](const engine::BatchReport& report) { metrics.count_batch(report); };
  return options;
}

FetchSettings fetch_settings(const Settings& settings) {
  FetchSettings fetch;
  fetch.allowed_hosts = settings.url_hosts;
  fetch.allowed_networks = settings.url_networks;
  fetch.max_bytes = settings.url_max_bytes;
  fetch.timeout = settings.url_timeout;
  fetch.ca_file = settings.url_ca_file;
  return fetch;
}

std::shared_ptr<const ApiKeys> read_keys(const Settings& settings) {
  return std::make_shared<const ApiKeys>(
      settings.api_keys.empty() ? ApiKeys() : ApiKeys::read(settings.api_keys));
}

// Version 4 of RFC 9562.
std::string random_id() {
  std::array<unsigned char, 16> bytes{};
  ::RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  id.reserve(36);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) id += '-';
    id += kDigits[bytes[i] >> 4];
    id += kDigits[bytes[i] & 15];
  }
  return id;
}

// Short and printable, or it is not taken: it goes into our log and back to the caller.
bool is_plain_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= 128 && std::all_of(id.begin(), id.end(), [](char c) {
    return c > ' ' && c < '\x7f' && c != '"' && c != '\\';
  });
}

// What a caller shows: "Authorization: Bearer KEY", or the header that other services have.
std::string_view shown_key(const Headers& headers) {
  const std::string_view authorization = headers.get("authorization");
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() > kBearer.size() &&
      equal_ignoring_case(authorization.substr(0, kBearer.size()), kBearer))
    return authorization.substr(kBearer.size());
  for (const char* name : {"x-api-key", "api-key"})
    if (headers.has(name)) return headers.get(name);
  return {};
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    return std::nullopt;
  return value;
}

std::string milliseconds(Clock::duration duration) {
  return std::to_string(std::chrono::round<std::chrono::milliseconds>(duration).count());
}

std::string timing(const char* name, Clock::duration duration) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%s;dur=%.3f", name,
                std::chrono::duration<double, std::milli>(duration).count());
  return text.data();
}

Error described(std::exception_ptr failure) {
  try {
    std::rethrow_exception(std::move(failure));
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::kOverloaded,
                 "there was not enough memory for this request; retry later")
        .retried_after(std::chrono::seconds(1));
  } catch (const std::exception& unexpected) {
    return Error(ErrorCode::kInternal, "something went wrong that should not; please report it",
                 unexpected.what());
  }
}

}  // namespace

Service::Service(const Settings& settings, Log& log)
    : settings_(settings),
      log_(log),
      metrics_(settings.model_names.empty() ? "bifocal" : settings.model_names.front()),
      host_(settings.model, load_options(settings), engine_options(settings, metrics_),
            {settings.index, settings.index_capacity, settings.hnsw_threshold}),
      model_names_(settings.model_names),
      bodies_(settings.max_inflight_bytes),
      fetcher_(fetch_settings(settings)),
      keys_(read_keys(settings)) {
  if (model_names_.empty()) model_names_.push_back(host_.served()->session->info().name);
  model_names_.push_back("default");
  limits_.max_items = settings.max_items;
  limits_.max_images = settings.max_images;
  limits_.max_json_depth = settings.max_json_depth;
  limits_.max_image_bytes = settings.max_image_bytes;
  admission_.max_items = settings.max_pending_items;
  admission_.max_bytes = settings.max_pending_bytes;
  admission_.max_wait = settings.max_wait;
  for (auto routes : {wire::bifocal_routes(), wire::search_routes(), wire::openai_routes(),
                      wire::cohere_routes(), wire::voyage_routes(), wire::tei_routes(),
                      wire::open_inference_routes(), system_routes(*this)})
    router_.add(std::move(routes));
}

Service::~Service() { slow_.join(); }

Context Service::context(const Served& served) {
  return {*served.session, limits_, *served.index, model_names_, why_not_ready_};
}

std::optional<std::string> Service::why_not_ready() const {
  if (draining()) return "the server is shutting down";
  return host_.why_not_ready();
}

void Service::reload() {
  auto keys = read_keys(settings_);
  try {
    if (const std::size_t dropped = host_.reload(); dropped > 0)
      log_.write(Log::Level::kWarning, "index_emptied", {{"items", dropped}});
  } catch (...) {
    metrics_.count_reload(false);
    throw;
  }
  keys_.store(std::move(keys));
  metrics_.count_reload(true);
}

// --- By the header alone ------------------------------------------------------------------------

Exchange Service::begin(Request head, std::string peer, bool is_local,
                        std::optional<std::uint64_t> content_length) {
  Exchange exchange;
  exchange.request = std::move(head);
  exchange.peer = std::move(peer);
  exchange.is_local = is_local;
  exchange.client = exchange.peer;
  Request& request = exchange.request;
  const std::string_view given = request.headers.get("x-request-id");
  request.id = is_plain_id(given) ? std::string(given) : random_id();
  try {
    Target target = parse_target(request.path);
    request.path = std::move(target.path);
    request.query = std::move(target.query);
    if (auto answer = preflight(request)) {
      exchange.refusal = *std::move(answer);
      return exchange;
    }
    Router::Match match = router_.find(request.method, request.path);
    if (match.route == nullptr) {
      if (match.allowed.empty())
        throw Error(ErrorCode::kNotFound,
                    "there is nothing at this path; /docs lists what there is");
      Error error(ErrorCode::kMethodNotAllowed, "this path does not take " + request.method);
      Response answer = refuse(exchange, error);
      std::string allowed;
      for (const std::string& method : match.allowed)
        allowed += (allowed.empty() ? "" : ", ") + method;
      answer.headers.add("Allow", allowed);
      exchange.error = error;
      exchange.refusal = std::move(answer);
      return exchange;
    }
    exchange.route = match.route;
    request.path_values = std::move(match.values);
    check_access(exchange);
    if (content_length && *content_length > settings_.max_body_bytes)
      throw Error(ErrorCode::kTooLarge, "the body has " + std::to_string(*content_length) +
                                            " bytes, more than the limit of " +
                                            std::to_string(settings_.max_body_bytes) +
                                            " (max-body-bytes); send fewer items at a time");
    find_deadline(exchange);
    check_load(exchange, content_length.value_or(0));
    exchange.served = host_.served();
  } catch (...) {
    exchange.error = described(std::current_exception());
    exchange.refusal = refuse(exchange, *exchange.error);
  }
  return exchange;
}

void Service::check_access(Exchange& exchange) {
  const auto keys = keys_.load();
  const Route::Access needed = exchange.route->access;
  double rate = settings_.rate_limit;
  if (keys->empty()) {
    if (needed == Route::Access::kAdmin && !exchange.is_local)
      throw Error(
          ErrorCode::kForbidden,
          "this needs a key with the role \"admin\" (api-keys), or a caller on this machine");
  } else if (needed != Route::Access::kOpen) {
    const std::string_view shown = shown_key(exchange.request.headers);
    if (shown.empty())
      throw Error(ErrorCode::kUnauthenticated,
                  "an API key is needed: send Authorization: Bearer KEY");
    const auto key = keys->find(shown);
    if (!key) throw Error(ErrorCode::kUnauthenticated, "this API key is not known");
    if (needed == Route::Access::kAdmin && !key->is_admin)
      throw Error(ErrorCode::kForbidden, "this needs a key with the role \"admin\"");
    exchange.client = key->name;
    if (key->per_minute) rate = *key->per_minute;
  }
  if (rate <= 0 || needed == Route::Access::kOpen) return;
  if (const auto wait = rates_.refuse(exchange.client, rate))
    throw Error(ErrorCode::kRateLimited, "more requests a minute than are allowed; slow down")
        .retried_after(*wait);
}

// A request's own deadline can only be nearer than the server's.
void Service::find_deadline(Exchange& exchange) const {
  const Request& request = exchange.request;
  auto most = settings_.request_timeout;
  const auto shorten_to = [&](std::string_view text, double milliseconds_a_unit, const char* name) {
    const auto value = number(text);
    if (!value || *value <= 0)
      throw Error(
          ErrorCode::kInvalidArgument,
          std::string(name) + " is not a positive number; leave it out for the server's own");
    most = std::min(most, std::chrono::milliseconds(static_cast<std::int64_t>(
                              std::min(*value * milliseconds_a_unit, 1e9) + 0.5)));
  };
  const Headers& headers = request.headers;
  if (headers.has("x-request-timeout-ms"))
    shorten_to(headers.get("x-request-timeout-ms"), 1, "x-request-timeout-ms");
  if (headers.has("timeout")) shorten_to(headers.get("timeout"), 1000, "timeout (seconds)");
  if (const auto text = request.query_value("timeout"))
    shorten_to(*text, 1000, "timeout (seconds)");
  exchange.deadline = request.received + most;
}

// Before a body is read for nothing.
void Service::check_load(const Exchange& exchange, std::uint64_t content_length) const {
  const bool asks_the_model =
      exchange.request.method == "POST" && exchange.route->access == Route::Access::kKey;
  if (!asks_the_model) return;
  if (draining_)
    throw Error(ErrorCode::kUnavailable, "the server is shutting down; send this elsewhere")
        .retried_after(std::chrono::seconds(1));
  host_.engine().require_room(exchange.client, static_cast<std::size_t>(content_length),
                              admission_);
}

std::optional<Response> Service::preflight(const Request& request) const {
  if (request.method != "OPTIONS" || !request.headers.has("access-control-request-method"))
    return std::nullopt;
  Response response;
  response.status = 204;
  const std::string_view origin = request.headers.get("origin");
  const auto& allowed = settings_.cors_origins;
  if (std::find(allowed.begin(), allowed.end(), origin) == allowed.end() &&
      std::find(allowed.begin(), allowed.end(), "*") == allowed.end())
    throw Error(ErrorCode::kForbidden, "this origin is not among the cors-origin setting");
  response.headers.add("Access-Control-Allow-Methods", "GET, POST, DELETE");
  response.headers.add("Access-Control-Allow-Headers",
                       "authorization, content-type, x-api-key, x-request-id, "
                       "x-request-timeout-ms, timeout, traceparent");
  response.headers.add("Access-Control-Max-Age", "600");
  return response;
}

// --- With the body ------------------------------------------------------------------------------

void Service::decode_body(Exchange& exchange, ByteBudget::Share& share) const {
  Request& request = exchange.request;
  exchange.request_bytes = request.body.size();
  const std::string_view encoding = request.headers.get("content-encoding");
  if (encoding.empty() || equal_ignoring_case(encoding, "identity")) return;
  if (!equal_ignoring_case(encoding, "gzip") && !equal_ignoring_case(encoding, "x-gzip") &&
      !equal_ignoring_case(encoding, "deflate"))
    throw Error(ErrorCode::kUnsupportedMedia,
                "this content-encoding is not read; send gzip, deflate or none");
  std::string expanded = gunzip(request.body, settings_.max_expanded_bytes);
  if (!share.take(expanded.size()))
    throw Error(ErrorCode::kOverloaded, "too many bytes of requests are in hand; retry later")
        .retried_after(std::chrono::seconds(1));
  request.body = std::move(expanded);
}

awaitable<Response> Service::answer(Exchange& exchange) {
  std::exception_ptr failure;
  try {
    Work work = exchange.route->read(exchange.request, context(*exchange.served));
    awaitable<Response> answering = run(exchange, std::move(work));
    Response response = co_await std::move(answering);
    add_standard_headers(exchange, response);
    co_return response;
  } catch (...) {
    failure = std::current_exception();  // nothing is awaited in a handler
  }
  exchange.error = described(failure);
  co_return refuse(exchange, *exchange.error);
}

// No coroutine itself: GCC 12 destroys the temporaries of an awaited call twice when that call
// takes objects by value, so such calls are made here, or under a name, and then awaited.
awaitable<Response> Service::run(Exchange& exchange, Work work) {
  const engine::Call call{exchange.client, exchange.deadline, &admission_};
  const engine::Session& session = *exchange.served->session;
  if (auto* ready = std::get_if<Response>(&work)) return already(std::move(*ready));
  if (auto* slow = std::get_if<SlowWork>(&work)) return run_slowly(std::move(slow->run));
  if (auto* embed = std::get_if<EmbedWork>(&work)) {
    const EmbedOptions options = embed->options;
    return run_model<Embedding>(
        exchange, std::move(*embed), [&session, call, options](engine::Items items, auto done) {
          return session.embed(std::move(items), options, call, std::move(done));
        });
  }
  if (auto* classify = std::get_if<ClassifyWork>(&work)) {
    const ClassifyOptions options = classify->options;
    return run_model<Classification>(
        exchange, std::move(*classify), [&session, call, options](engine::Items items, auto done) {
          return session.classify(std::move(items), options, call, std::move(done));
        });
  }
  if (auto* match = std::get_if<MatchWork>(&work))
    return run_model<Match>(exchange, std::move(*match),
                            [&session, call](engine::Items items, auto done) {
                              return session.match(std::move(items), call, std::move(done));
                            });
  auto& states = std::get<TokenStatesWork>(work);
  const EmbedOptions options = states.options;
  return run_model<engine::TokenStates>(
      exchange, std::move(states),
      [&session, call, options](engine::Items items, engine::Done<engine::TokenStates> done) {
        return session.token_states(std::move(items), options, call, std::move(done));
      });
}

awaitable<Response> Service::run_slowly(std::function<Response()> work) {
  const auto body = [&work]() -> awaitable<Response> { co_return work(); };
  auto answer = asio::co_spawn(slow_, body, asio::use_awaitable);
  co_return co_await std::move(answer);
}

// Serves the items that could be read, and puts the errors of the others back in their places.
template <typename T, typename Start>
awaitable<Response> Service::run_model(Exchange& exchange, ModelWork<T> work, Start start) {
  exchange.items = work.items.size();
  co_await fetch_images(work.items);
  auto served = std::make_shared<std::vector<Item>>();
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < work.items.size(); ++i) {
    if (work.items[i].error) continue;
    places.push_back(i);
    served->push_back(std::move(work.items[i].item));
  }
  auto serving = await_answer<T>(host_.engine(), exchange.deadline, [&](engine::Done<T> done) {
    return start(served, std::move(done));
  });
  std::optional<engine::Answer<T>> answer = co_await std::move(serving);
  if (!answer) {
    if (exchange.deadline && Clock::now() >= *exchange.deadline)
      throw Error(ErrorCode::kDeadlineExceeded,
                  "the deadline passed before the work was done; allow more time, or send less");
    throw Error(ErrorCode::kCancelled, "the caller has gone");
  }
  exchange.times = answer->times;

  std::vector<Result<T>> results;
  results.reserve(work.items.size());
  std::size_t next = 0;
  for (std::size_t i = 0; i < work.items.size(); ++i) {
    if (next < places.size() && places[next] == i)
      results.push_back(std::move(answer->results[next++]));
    else
      results.emplace_back(*work.items[i].error);
    if (!results.back().ok()) metrics_.count_item_error(results.back().error().code());
  }
  // All too late: that is the request's own failure, whatever the format says of single items.
  if (!results.empty() && std::all_of(results.begin(), results.end(), [](const Result<T>& result) {
        return !result.ok() && (result.error().code() == ErrorCode::kDeadlineExceeded ||
                                result.error().code() == ErrorCode::kUnavailable);
      }))
    throw results.front().error();
  co_return work.write(context(*exchange.served), std::move(results));
}

awaitable<void> Service::fetch_images(std::vector<WorkItem>& items) {
  using namespace asio::experimental::awaitable_operators;
  std::vector<WorkItem*> wanted;
  for (WorkItem& item : items)
    if (item.image_url && !item.error) wanted.push_back(&item);
  if (wanted.empty()) co_return;
  std::size_t next = 0;  // the lanes share this strand
  const auto lane = [&]() -> awaitable<void> {
    while (next < wanted.size()) {
      WorkItem& item = *wanted[next++];
      std::exception_ptr failure;
      try {
        auto fetching = fetcher_.fetch(*item.image_url);
        item.item.image = co_await std::move(fetching);
      } catch (...) {
        failure = std::current_exception();
      }
      if (failure) item.error = described(failure);
      const auto cancelled = co_await asio::this_coro::cancellation_state;
      if (cancelled.cancelled() != asio::cancellation_type::none) co_return;
    }
  };
  co_await (lane() && lane() && lane() && lane());
}

// --- Out --------------------------------------------------------------------------------------

void Service::add_standard_headers(const Exchange& exchange, Response& response) const {
  response.headers.add("x-request-id", exchange.request.id);
  const auto total = Clock::now() - exchange.request.received;
  if (exchange.items > 0) {
    const engine::JobTimes& times = exchange.times;
    // Whole milliseconds, as clients of TEI read them; Server-Timing has the fractions.
    response.headers.add("x-total-time", milliseconds(total));
    response.headers.add("x-queue-time", milliseconds(times.queue));
    response.headers.add("x-decode-time", milliseconds(times.decode));
    response.headers.add("x-tokenization-time", milliseconds(times.tokenize));
    response.headers.add("x-inference-time", milliseconds(times.inference));
    response.headers.add("Server-Timing", timing("total", total) + ", " +
                                              timing("queue", times.queue) + ", " +
                                              timing("decode", times.decode) + ", " +
                                              timing("tokenize", times.tokenize) + ", " +
                                              timing("inference", times.inference));
  }
  const auto& origins = settings_.cors_origins;
  if (const std::string_view origin = exchange.request.headers.get("origin");
      !origin.empty() && !origins.empty()) {
    const bool any = std::find(origins.begin(), origins.end(), "*") != origins.end();
    if (any || std::find(origins.begin(), origins.end(), origin) != origins.end()) {
      response.headers.add("Access-Control-Allow-Origin", any ? "*" : std::string(origin));
      response.headers.add("Access-Control-Expose-Headers",
                           "x-request-id, x-total-time, x-queue-time, x-decode-time, "
                           "x-tokenization-time, x-inference-time, server-timing, retry-after");
      response.headers.add("Vary", "Origin");
    }
  }
}

Response Service::refuse(Exchange& exchange, const Error& error) const {
  Response response;
  response.status = traits(error.code()).http_status;
  response.body = exchange.route != nullptr && exchange.route->write_error
                      ? exchange.route->write_error(error, exchange.request)
                      : wire::write_openai_error(error, exchange.request);
  if (const auto wait = error.retry_after()) {
    const auto whole = std::chrono::ceil<std::chrono::seconds>(*wait);
    response.headers.add("Retry-After", std::to_string(std::max<std::int64_t>(1, whole.count())));
    response.headers.add("retry-after-ms", std::to_string(wait->count()));
  }
  if (error.code() == ErrorCode::kUnauthenticated)
    response.headers.add("WWW-Authenticate", "Bearer");
  add_standard_headers(exchange, response);
  return response;
}

void Service::finished(const Exchange& exchange, int status, std::size_t response_bytes) {
  const auto took = Clock::now() - exchange.request.received;
  const std::string_view method =
      exchange.route != nullptr ? std::string_view(exchange.route->dashboards) : "none";
  metrics_.count_request({method, status, exchange.error ? &*exchange.error : nullptr, took,
                          exchange.times, exchange.items});
  const auto as_ms = [](Clock::duration duration) {
    return std::chrono::duration<double, std::milli>(duration).count();
  };
  const Log::Level level = status >= 500 ? Log::Level::kError : Log::Level::kInfo;
  log_.write(
      level, "request",
      {{"id", exchange.request.id},
       {"method", exchange.request.method},
       {"route", exchange.route != nullptr ? exchange.route->pattern : std::string("none")},
       {"status", status},
       {"client", exchange.client},
       {"peer", exchange.peer},
       {"traceparent", std::string(exchange.request.headers.get("traceparent"))},
       {"items", exchange.items},
       {"request_bytes", exchange.request_bytes},
       {"response_bytes", response_bytes},
       {"total_ms", as_ms(took)},
       {"queue_ms", as_ms(exchange.times.queue)},
       {"decode_ms", as_ms(exchange.times.decode)},
       {"tokenize_ms", as_ms(exchange.times.tokenize)},
       {"inference_ms", as_ms(exchange.times.inference)},
       {"error", exchange.error ? std::string(traits(exchange.error->code()).name) : std::string()},
       {"detail", exchange.error ? exchange.error->detail() : std::string()}});
}

}  // namespace bifocal::http
