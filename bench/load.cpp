// A bounded load on an HTTP server, and what it answered, as one JSON object:
//
//   bench_load --port N --path /v1/fused/embeddings --bodies FILE --seconds 10
//              (--rate 200 | --clients 16) [--connections 512] [--host 127.0.0.1] [--key KEY]
//
// FILE has one request body a line; they are sent in turn. With --rate the load is open: requests
// begin at fixed times whatever became of those before, and a latency counts from the time that was
// meant, so that a server that stalls cannot slow its own test down. With --clients it is closed:
// each client sends its next request when the last was answered.
// "goodput" counts answers of status 200 that came within --good-ms, a second.

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <deque>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using asio::awaitable;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string host = "127.0.0.1", path = "/v1/fused/embeddings", bodies, key;
  unsigned short port = 0;
  double seconds = 10, rate = 0, good_ms = 1e9;
  std::size_t clients = 0, connections = 512, items = 1;
};

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

class Load {
 public:
  explicit Load(Options options) : options_(std::move(options)), wake_(io_) {
    std::ifstream file(options_.bodies);
    for (std::string line; std::getline(file, line);)
      if (!line.empty()) bodies_.push_back(prepared(line));
    if (bodies_.empty()) throw std::runtime_error(options_.bodies + " has no bodies");
  }

  void run() {
    began_ = Clock::now();
    if (options_.rate > 0) {
      const auto count = static_cast<std::size_t>(options_.rate * options_.seconds);
      for (std::size_t i = 0; i < count; ++i)
        meant_.push_back(
            began_ + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double>(static_cast<double>(i) / options_.rate)));
      asio::co_spawn(io_, arrive(), asio::detached);
    } else {
      for (std::size_t i = 0; i < options_.clients; ++i)
        asio::co_spawn(io_, closed_client(), asio::detached);
    }
    io_.run();
    report();
  }

 private:
  bhttp::request<bhttp::string_body> prepared(std::string body) const {
    bhttp::request<bhttp::string_body> request{bhttp::verb::post, options_.path, 11};
    request.set(bhttp::field::host, options_.host);
    request.set(bhttp::field::content_type, "application/json");
    if (!options_.key.empty()) request.set(bhttp::field::authorization, "Bearer " + options_.key);
    request.body() = std::move(body);
    request.prepare_payload();
    return request;
  }

  bool over() const {
    return Clock::now() - began_ >= std::chrono::duration<double>(options_.seconds);
  }

  // Puts each request in line when its time has come, and sees that somebody takes it.
  awaitable<void> arrive() {
    asio::steady_timer timer(io_);
    error_code error;
    while (!meant_.empty()) {
      timer.expires_at(meant_.front());
      co_await timer.async_wait(into(error));
      while (!meant_.empty() && meant_.front() <= Clock::now()) {
        due_.push_back(meant_.front());
        meant_.pop_front();
      }
      for (std::size_t i = idle_; i < due_.size() && open_ < options_.connections; ++i) {
        ++open_;
        asio::co_spawn(io_, open_client(), asio::detached);
      }
      wake_.cancel();
    }
    finished_ = true;
    wake_.cancel();
  }

  awaitable<void> open_client() {
    beast::tcp_stream stream(io_);
    error_code error;
    while (true) {
      while (due_.empty() && !finished_) {
        ++idle_;
        wake_.expires_at(Clock::time_point::max());
        co_await wake_.async_wait(into(error));
        --idle_;
      }
      if (due_.empty()) co_return;
      const auto meant = due_.front();
      due_.pop_front();
      co_await send(stream, meant);
    }
  }

  awaitable<void> closed_client() {
    beast::tcp_stream stream(io_);
    while (!over()) co_await send(stream, Clock::now());
  }

  awaitable<void> send(beast::tcp_stream& stream, Clock::time_point meant) {
    error_code error;
    if (!stream.socket().is_open()) {
      co_await stream.async_connect(
          tcp::endpoint(asio::ip::make_address(options_.host), options_.port), into(error));
      if (error) {
        ++failures_["connect: " + error.message()];
        stream.close();
        co_return;
      }
      stream.socket().set_option(tcp::no_delay(true), error);
    }
    stream.expires_after(std::chrono::seconds(120));
    const auto& request = bodies_[next_++ % bodies_.size()];
    co_await bhttp::async_write(stream, request, into(error));
    bhttp::response_parser<bhttp::string_body> parser;
    parser.body_limit(std::uint64_t{1} << 30);
    beast::flat_buffer buffer;
    if (!error) co_await bhttp::async_read(stream, buffer, parser, into(error));
    if (error) {
      ++failures_[error.message()];
      stream.close();
      co_return;
    }
    const auto& response = parser.get();
    const unsigned status = response.result_int();
    ++statuses_[status];
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - meant).count();
    if (status == 200) {
      latencies_.push_back(ms);
      if (ms <= options_.good_ms) ++good_;
    } else {
      refusals_.push_back(ms);
      if (response.find(bhttp::field::retry_after) == response.end()) ++without_retry_after_;
    }
    last_ = Clock::now();
    if (!response.keep_alive()) stream.close();
  }

  static double percentile(std::vector<double>& values, double part) {
    if (values.empty()) return std::nan("");
    const auto at = std::min(values.size() - 1,
                             static_cast<std::size_t>(part * static_cast<double>(values.size())));
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at),
                     values.end());
    return values[at];
  }

  void report() {
    const double seconds = std::max(options_.rate > 0 ? options_.seconds : 0.0,
                                    std::chrono::duration<double>(last_ - began_).count());
    const auto number = [](double value) {
      return std::isfinite(value) ? std::to_string(value) : std::string("null");
    };
    std::cout << "{\"seconds\": " << seconds << ", \"answered\": " << latencies_.size()
              << ", \"per_second\": "
              << number(static_cast<double>(latencies_.size() * options_.items) / seconds)
              << ", \"goodput\": " << number(static_cast<double>(good_ * options_.items) / seconds)
              << ", \"p50_ms\": " << number(percentile(latencies_, 0.5))
              << ", \"p99_ms\": " << number(percentile(latencies_, 0.99))
              << ", \"refused\": " << refusals_.size()
              << ", \"refused_p50_ms\": " << number(percentile(refusals_, 0.5))
              << ", \"without_retry_after\": " << without_retry_after_ << ", \"statuses\": {";
    const char* comma = "";
    for (const auto& [status, count] : statuses_) {
      std::cout << comma << '"' << status << "\": " << count;
      comma = ", ";
    }
    std::cout << "}, \"failures\": {";
    comma = "";
    for (const auto& [what, count] : failures_) {
      std::cout << comma << '"' << what << "\": " << count;
      comma = ", ";
    }
    std::cout << "}}\n";
  }

  Options options_;
  asio::io_context io_{1};
  asio::steady_timer wake_;
  std::vector<bhttp::request<bhttp::string_body>> bodies_;
  std::deque<Clock::time_point> meant_, due_;
  Clock::time_point began_{}, last_{};
  std::size_t open_ = 0, idle_ = 0, next_ = 0, good_ = 0, without_retry_after_ = 0;
  bool finished_ = false;
  std::vector<double> latencies_, refusals_;
  std::map<unsigned, std::size_t> statuses_;
  std::map<std::string, std::size_t> failures_;
};

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("A bounded load on an HTTP server.");
  app.add_option("--host", options.host);
  app.add_option("--port", options.port)->required();
  app.add_option("--path", options.path);
  app.add_option("--bodies", options.bodies)->required();
  app.add_option("--seconds", options.seconds);
  app.add_option("--rate", options.rate);
  app.add_option("--clients", options.clients);
  app.add_option("--connections", options.connections);
  app.add_option("--items", options.items, "Items in each body: rates are counted in items");
  app.add_option("--good-ms", options.good_ms);
  app.add_option("--key", options.key);
  CLI11_PARSE(app, argc, argv);
  try {
    Load(options).run();
  } catch (const std::exception& error) {
    std::cerr << "bench_load: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
