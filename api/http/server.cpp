#include "server.h"

#include <sys/resource.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bifocal/error.h"
#include "connection.h"
#include "current.h"
#include "log.h"
#include "service.h"
#include "tls.h"

namespace bifocal::http {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using boost::system::error_code;
using tcp = asio::ip::tcp;

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

// Each connection is a descriptor: as many as the system grants.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

class Server {
 public:
  Server(const Settings& settings, Log& log)
      : settings_(settings),
        log_(log),
        service_(std::make_shared<Service>(settings, log)),
        connections_(std::make_shared<OpenConnections>()),
        tls_(open_tls(settings)),
        strand_(asio::make_strand(io_)),
        acceptor_(strand_),
        signals_(strand_),
        grace_(strand_) {}

  void run() {
    listen();
    // All signals through one set: SIGPIPE is ignored, a peer that went away is an error code.
    std::signal(SIGPIPE, SIG_IGN);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) signals_.add(number);
    asio::co_spawn(strand_, heed_signals(), asio::detached);
    asio::co_spawn(strand_, accept(), asio::detached);
    std::vector<std::thread> threads;
    for (int i = 1; i < settings_.connection_threads; ++i)
      threads.emplace_back([this] { io_.run(); });
    io_.run();
    for (std::thread& thread : threads) thread.join();
    log_.write(Log::Level::kInfo, "stopped", {});
  }

 private:
  void listen() {
    error_code error;
    const auto address = asio::ip::make_address(settings_.host, error);
    if (error)
      throw Error(ErrorCode::kInvalidArgument,
                  "host: \"" + settings_.host +
                      "\" is not an IP address; use 127.0.0.1 for this "
                      "machine alone, 0.0.0.0 or :: for all");
    const tcp::endpoint endpoint(address, static_cast<std::uint16_t>(settings_.port));
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(4096, error);
    if (error)
      throw Error(ErrorCode::kIo, "cannot listen on " + settings_.host + " port " +
                                      std::to_string(settings_.port) + ": " + error.message() +
                                      "; choose another with --host and --port");
    log_.write(Log::Level::kInfo, "listening",
               {{"address", acceptor_.local_endpoint().address().to_string()},
                {"port", static_cast<int>(acceptor_.local_endpoint().port())},
                {"tls", tls_.load() != nullptr},
                {"model", service_->host().served()->session->info().name}});
  }

  awaitable<void> accept() {
    asio::steady_timer pause(strand_);
    while (acceptor_.is_open()) {
      error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(asio::make_strand(io_), into(error));
      if (!error) {
        begin(std::move(socket));  // while stopping too: it was accepted before
        continue;
      }
      if (error == asio::error::operation_aborted || !acceptor_.is_open()) co_return;
      // Out of descriptors, most likely: some will be free in a moment.
      pause.expires_after(std::chrono::milliseconds(20));
      co_await pause.async_wait(into(error));
    }
  }

  void begin(tcp::socket socket) {
    error_code error;
    if (connections_->count() >= settings_.max_connections) {
      log_.write(Log::Level::kWarning, "connection_refused", {});
      socket.close(error);
      return;
    }
    socket.set_option(tcp::no_delay(true), error);
    const auto executor = socket.get_executor();
    asio::co_spawn(executor,
                   serve_connection(std::move(socket), tls_.load(), service_,
                                    std::make_unique<OpenConnections::Place>(connections_)),
                   asio::detached);
  }

  // Closing an acceptor resets what waits to be accepted, and with it the requests sent by then.
  void accept_who_is_waiting() {
    error_code error;
    acceptor_.non_blocking(true, error);
    while (!error) {
      tcp::socket socket(asio::make_strand(io_));
      acceptor_.accept(socket, error);
      if (!error) begin(std::move(socket));
    }
  }

  awaitable<void> heed_signals() {
    for (;;) {
      error_code error;
      const int number = co_await signals_.async_wait(into(error));
      if (error) co_return;
      if (number == SIGHUP) {
        reload();
        continue;
      }
      log_.write(Log::Level::kInfo, "stopping", {{"signal", number}});
      // A second signal ends the process at once, as everywhere.
      signals_.clear(error);
      co_await stop();
      co_return;
    }
  }

  void reload() {
    log_.reopen();
    asio::post(slow_, [this] {
      try {
        tls_.store(open_tls(settings_));
        service_->reload();
        log_.write(Log::Level::kInfo, "reloaded", {});
      } catch (const Error& error) {
        log_.write(Log::Level::kError, "reload_failed",
                   {{"message", error.message()}, {"detail", error.detail()}});
      }
    });
  }

  awaitable<void> stop() {
    error_code error;
    service_->begin_draining();
    accept_who_is_waiting();
    acceptor_.close(error);
    const auto until = std::chrono::steady_clock::now() + settings_.shutdown_grace;
    while (connections_->count() > 0 && std::chrono::steady_clock::now() < until) {
      connections_->close_all(/*only_idle=*/true);
      grace_.expires_after(std::chrono::milliseconds(20));
      co_await grace_.async_wait(into(error));
    }
    if (connections_->count() > 0)
      log_.write(Log::Level::kWarning, "connections_cut", {{"connections", connections_->count()}});
    connections_->close_all(/*only_idle=*/false);
    slow_.join();
  }

  const Settings settings_;
  Log& log_;
  asio::io_context io_;
  asio::thread_pool slow_{1};
  std::shared_ptr<Service> service_;
  std::shared_ptr<OpenConnections> connections_;
  Current<asio::ssl::context> tls_;
  asio::strand<asio::io_context::executor_type> strand_;
  tcp::acceptor acceptor_;
  asio::signal_set signals_;
  asio::steady_timer grace_;
};

}  // namespace

void serve(const Settings& settings) {
  raise_descriptor_limit();
  Log log(settings.log_level, settings.log_file);
  Server(settings, log).run();
}

void check_serving(const Settings& settings) {
  Log log(Log::Level::kError, {});
  open_tls(settings);
  const Service service(settings, log);
}

}  // namespace bifocal::http
