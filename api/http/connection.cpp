#include "connection.h"

#include <sys/socket.h>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using asio::awaitable;
using boost::system::error_code;
using tcp = asio::ip::tcp;
using Plain = tcp::socket;
using Secure = beast::ssl_stream<tcp::socket>;
using Parser = bhttp::request_parser<bhttp::buffer_body>;

constexpr auto kRateGrace = std::chrono::seconds(5);  // before min-body-rate counts
constexpr auto kFarewell = std::chrono::seconds(1);   // for a peer to take our last words
constexpr auto kCallOffAgain = std::chrono::milliseconds(50);
constexpr std::size_t kReadAtOnce = 1 << 20;
constexpr std::size_t kChunkAtOnce = 64 * 1024;

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

template <typename Stream>
class Connection {
 public:
  Connection(Stream stream, std::shared_ptr<Service> service,
             std::unique_ptr<OpenConnections::Place> place)
      : stream_(std::move(stream)),
        timer_(stream_.get_executor()),
        service_(std::move(service)),
        place_(std::move(place)) {
    timer_.expires_at(Clock::time_point::max());
    error_code ignored;
    const auto end = socket().remote_endpoint(ignored);
    const auto address = end.address();
    is_local_ = address.is_loopback();
    peer_ = address.to_string(ignored);
  }

  awaitable<void> run() {
    service_->metrics().connection_opened();
    place_->close_by([this, executor = stream_.get_executor(),
                      alive = std::weak_ptr<int>(alive_)](bool only_idle) {
      asio::post(executor, [this, alive, only_idle] {
        error_code ignored;
        if (!alive.lock()) return;
        // Its wait ends, and wait_for_request() looks whether a request had come.
        if (only_idle && idle_) socket().cancel(ignored);
        if (!only_idle) socket().close(ignored);
      });
    });
    try {
      if (co_await shake_hands())
        while (co_await serve_one()) {
        }
      co_await say_goodbye();
    } catch (const std::exception& unexpected) {
      service_->log().write(Log::Level::kError, "connection_failed",
                            {{"detail", std::string(unexpected.what())}});
    }
    service_->metrics().connection_closed();
  }

 private:
  tcp::socket& socket() { return beast::get_lowest_layer(stream_); }
  const Settings& settings() const { return service_->settings(); }

  // What is awaited next is called off at `when`: was_late() tells that from other ends. The socket
  // stays open, so that a late peer can be told why. One wait serves many deadlines: it is begun
  // anew only for an earlier one, and looks when it ends whether there is a later one by now.
  void end_by(Clock::time_point when) {
    late_ = false;
    due_ = when;
    if (when < timer_.expiry()) call_off_when_due(when);
  }
  void call_off_when_due(Clock::time_point look) {
    timer_.expires_at(look);
    timer_.async_wait([this, alive = std::weak_ptr<int>(alive_)](const error_code& replaced) {
      if (replaced || !alive.lock()) return;
      if (Clock::now() < due_) return call_off_when_due(due_);
      late_ = true;
      error_code ignored;
      socket().cancel(ignored);
      // A step that had just ended was not met, and the next of the same operation begins.
      call_off_when_due(Clock::now() + kCallOffAgain);
    });
  }
  void never_end() { due_ = Clock::time_point::max(); }
  void end_within(Clock::duration time) { end_by(Clock::now() + time); }
  bool was_late(const error_code& error) const {
    return late_ && error == asio::error::operation_aborted;
  }

  awaitable<bool> shake_hands() {
    if constexpr (std::is_same_v<Stream, Secure>) {
      error_code error;
      end_within(settings().header_timeout);
      co_await stream_.async_handshake(asio::ssl::stream_base::server, into(error));
      co_return !error;
    }
    co_return true;
  }

  // False where the connection ends after it.
  awaitable<bool> serve_one() {
    if (!co_await wait_for_request()) co_return false;
    continued_ = false;
    Parser parser;
    parser.header_limit(static_cast<std::uint32_t>(settings().max_header_bytes));
    parser.body_limit(boost::none);  // counted by read_body()
    error_code error;
    end_within(settings().header_timeout);
    co_await bhttp::async_read_header(stream_, buffer_, parser, into(error));
    if (error) {
      co_await explain_bad_header(error);
      co_return false;
    }
    left_ = parser.is_done() ? 0 : parser.content_length();
    Exchange exchange =
        service_->begin(head_of(parser), peer_, is_local_,
                        left_ ? std::optional<std::uint64_t>(*left_) : std::nullopt);
    ByteBudget::Share share(service_->bodies());
    bool keep = parser.get().keep_alive();
    if (!exchange.refusal) {
      const std::optional<Error> failure = co_await read_body(parser, exchange, share);
      if (failure && failure->code() == ErrorCode::kCancelled) co_return false;
      if (failure) {
        exchange.error = failure;
        exchange.refusal = service_->refuse(exchange, *failure);
      }
    }
    if (exchange.refusal) {
      // What is still to come must be taken off the wire before the next request; where that is
      // much, or comes too slowly, it is cheaper to hang up.
      const bool slow = exchange.error && exchange.error->code() == ErrorCode::kRequestTimeout;
      keep = keep && !slow && is_worth_skipping(parser);
      auto writing = write(exchange, *std::move(exchange.refusal), parser, keep);
      keep = co_await std::move(writing);
      co_return keep&& co_await skip(left_.value());
    }
    auto response = co_await answer_unless_gone(exchange);
    if (!response) co_return false;
    auto writing = write(exchange, *std::move(response), parser, keep);
    co_return co_await std::move(writing);
  }

  awaitable<bool> wait_for_request() {
    if (buffer_.size() > 0) co_return true;  // pipelined
    error_code error;
    if (is_over()) co_return false;
    idle_ = true;
    end_within(settings().idle_timeout);
    do {
      // Reading, and not waiting for readiness: TLS may hold bytes that the socket no longer has.
      const std::size_t count =
          co_await stream_.async_read_some(buffer_.prepare(4096), into(error));
      buffer_.commit(count);
    } while (error == asio::error::operation_aborted && service_->draining() && !is_over());
    idle_ = false;
    co_return !error;
  }
  // A server that stops still answers the request that had reached it.
  bool is_over() {
    error_code error;
    return service_->draining() && (socket().available(error) == 0 || error);
  }

  Request head_of(const Parser& parser) const {
    Request request;
    const auto& message = parser.get();
    request.method = std::string(message.method_string());
    request.path = std::string(message.target());
    for (const auto& field : message)
      request.headers.add(std::string(field.name_string()), std::string(field.value()));
    return request;
  }

  awaitable<void> explain_bad_header(const error_code& error) {
    if (error == bhttp::error::end_of_stream || error == asio::error::eof ||
        error == asio::error::connection_reset)
      co_return;
    const bool slow = was_late(error);
    if (!slow && error.category() != bhttp::make_error_code(bhttp::error::bad_value).category())
      co_return;
    const Error failure =
        slow ? Error(ErrorCode::kRequestTimeout, "the request's header did not arrive in time")
        : error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow
            ? Error(ErrorCode::kHeadersTooLarge, "the request's header is longer than " +
                                                     std::to_string(settings().max_header_bytes) +
                                                     " bytes (max-header-bytes)")
            : Error(ErrorCode::kInvalidArgument, "this is not an HTTP request", error.message());
    Exchange exchange;
    exchange.request.id = "-";
    exchange.peer = exchange.client = peer_;
    exchange.error = failure;
    Parser none;
    auto writing = write(exchange, service_->refuse(exchange, failure), none, false);
    co_await std::move(writing);
  }

  awaitable<bool> send_continue(const Parser& parser) {
    const auto& message = parser.get();
    if (!beast::iequals(message[bhttp::field::expect], "100-continue") || message.version() < 11)
      co_return true;
    bhttp::response<bhttp::empty_body> go_on{bhttp::status::continue_, message.version()};
    error_code error;
    end_within(settings().write_timeout);
    co_await bhttp::async_write(stream_, go_on, into(error));
    continued_ = true;
    co_return !error;
  }

  // Until when more of the body must have come: the whole within its time, and never slower than
  // the least rate.
  Clock::time_point next_by(Clock::time_point began, std::size_t received) const {
    const auto whole = began + settings().body_timeout;
    if (settings().min_body_rate == 0) return whole;
    const auto at_rate =
        began + kRateGrace + std::chrono::milliseconds(1000 * received / settings().min_body_rate);
    return std::min(whole, at_rate);
  }

  // Nothing where the body was read; kCancelled where there is nobody left to answer.
  awaitable<std::optional<Error>> read_body(Parser& parser, Exchange& exchange,
                                            ByteBudget::Share& share) {
    if (left_ && !share.take(static_cast<std::size_t>(*left_))) co_return over_budget();
    if (!co_await send_continue(parser)) co_return Error(ErrorCode::kCancelled, "gone");
    auto reading = left_ ? read_counted_body(exchange.request.body)
                         : read_chunked_body(parser, exchange.request.body, share);
    if (auto failure = co_await std::move(reading)) co_return failure;
    try {
      service_->decode_body(exchange, share);
    } catch (const Error& error) {
      co_return error;
    }
    co_return std::nullopt;
  }

  Error why_not_read(const error_code& error) const {
    if (was_late(error))
      return Error(ErrorCode::kRequestTimeout,
                   "the request's body arrived too slowly; send it within " +
                       std::to_string(settings().body_timeout.count()) +
                       " ms (body-timeout-ms), and faster than " +
                       std::to_string(settings().min_body_rate) +
                       " bytes a second (min-body-rate)");
    if (error.category() == bhttp::make_error_code(bhttp::error::bad_value).category() &&
        error != bhttp::error::partial_message && error != bhttp::error::end_of_stream)
      return Error(ErrorCode::kInvalidArgument, "the body's framing is broken", error.message());
    return Error(ErrorCode::kCancelled, "gone");
  }

  // Straight into its place, past the parser: a body of a known length needs no more parsing.
  awaitable<std::optional<Error>> read_counted_body(std::string& body) {
    const std::size_t length = static_cast<std::size_t>(*left_);
    body.reserve(length);
    body.assign(static_cast<const char*>(buffer_.data().data()), std::min(buffer_.size(), length));
    buffer_.consume(body.size());
    const auto began = Clock::now();
    while (body.size() < length) {
      const std::size_t before = body.size();
      body.resize(std::min(length, before + kReadAtOnce));
      error_code error;
      end_by(next_by(began, before));
      const std::size_t count = co_await stream_.async_read_some(
          asio::buffer(body.data() + before, body.size() - before), into(error));
      body.resize(before + count);
      if (error) co_return why_not_read(error);
    }
    left_ = 0;
    co_return std::nullopt;
  }

  awaitable<std::optional<Error>> read_chunked_body(Parser& parser, std::string& body,
                                                    ByteBudget::Share& share) {
    const auto began = Clock::now();
    while (!parser.is_done()) {
      const std::size_t before = body.size();
      body.resize(before + kChunkAtOnce);
      parser.get().body().data = body.data() + before;
      parser.get().body().size = kChunkAtOnce;
      error_code error;
      end_by(next_by(began, before));
      co_await bhttp::async_read_some(stream_, buffer_, parser, into(error));
      if (error == bhttp::error::need_buffer) error = {};
      body.resize(before + kChunkAtOnce - parser.get().body().size);
      if (error) co_return why_not_read(error);
      if (!share.take(body.size() - before)) co_return over_budget();
      if (body.size() > settings().max_body_bytes)
        co_return Error(ErrorCode::kTooLarge, "the body is longer than the limit of " +
                                                  std::to_string(settings().max_body_bytes) +
                                                  " bytes (max-body-bytes); send fewer items");
    }
    left_ = 0;
    co_return std::nullopt;
  }

  static Error over_budget() {
    return Error(ErrorCode::kOverloaded, "too many bytes of requests are in hand; retry later")
        .retried_after(std::chrono::seconds(1));
  }

  // What is left of a body that nobody wants.
  bool is_worth_skipping(const Parser& parser) const {
    constexpr std::uint64_t kMost = 1 << 20;
    if (!left_ || *left_ > kMost) return false;
    // It will not send what we do not ask for.
    return *left_ == 0 || continued_ ||
           !beast::iequals(parser.get()[bhttp::field::expect], "100-continue");
  }

  // Takes so many bytes off the wire. False where they do not come.
  awaitable<bool> skip(std::uint64_t count) {
    const std::size_t here =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), count));
    buffer_.consume(here);
    count -= here;
    if (count > 0) end_within(kRateGrace);
    while (count > 0) {
      const std::size_t gone = co_await drop_some(static_cast<std::size_t>(count));
      if (gone == 0) co_return false;
      count -= gone;
    }
    co_return true;
  }

  // At most `count` bytes; 0 at the end.
  awaitable<std::size_t> drop_some(std::size_t count) {
    if constexpr (std::is_same_v<Stream, Plain>) {
      co_return co_await drop_off_the_wire(count);
    } else {
      std::array<char, 16384> sink;
      error_code error;
      const std::size_t got = co_await stream_.async_read_some(
          asio::buffer(sink.data(), std::min(count, sink.size())), into(error));
      co_return error ? 0 : got;
    }
  }
  awaitable<std::size_t> drop_off_the_wire(std::size_t count) {
    for (;;) {
      error_code error;
      co_await socket().async_wait(tcp::socket::wait_read, into(error));
      if (error) co_return 0;
      // The kernel drops them, and copies nothing: tcp(7).
      const auto got = ::recv(socket().native_handle(), nullptr, count, MSG_TRUNC | MSG_DONTWAIT);
      if (got >= 0) co_return static_cast<std::size_t>(got);
      if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) co_return 0;
    }
  }

  // Nothing where the peer went away first; what it wanted is then called off.
  awaitable<std::optional<Response>> answer_unless_gone(Exchange& exchange) {
    using namespace asio::experimental::awaitable_operators;
    never_end();
    auto outcome = co_await (service_->answer(exchange) || peer_gone());
    if (outcome.index() == 0) co_return std::get<0>(std::move(outcome));
    exchange.error = Error(ErrorCode::kCancelled, "the caller has gone");
    service_->finished(exchange, traits(ErrorCode::kCancelled).http_status, 0);
    co_return std::nullopt;
  }

  // Returns when the peer has closed its side. Bytes that come meanwhile are the next request's:
  // they stay where they are, and end the watch.
  awaitable<void> peer_gone() {
    error_code error;
    co_await socket().async_wait(tcp::socket::wait_read, into(error));
    if (!error) {
      char byte = 0;
      const auto got = ::recv(socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK)) co_return;
    }
    asio::steady_timer forever(co_await asio::this_coro::executor);
    forever.expires_at(asio::steady_timer::time_point::max());
    co_await forever.async_wait(into(error));
  }

  // The status line and the fields (RFC 9112, sections 4 and 5).
  static std::string head_of(const Response& response, unsigned version, bool keep) {
    std::string head;
    head.reserve(768);
    const auto field = [&head](std::string_view name, std::string_view value) {
      ((head += name) += ": ") += value;
      head += "\r\n";
    };
    head += version == 10 ? "HTTP/1.0 " : "HTTP/1.1 ";
    head += std::to_string(response.status);
    head += ' ';
    const auto reason =
        bhttp::obsolete_reason(bhttp::int_to_status(static_cast<unsigned>(response.status)));
    head.append(reason.data(), reason.size());
    head += "\r\n";
    field("Server", "bifocal");
    if (response.status != 204) {
      if (!response.content_type.empty()) field("Content-Type", response.content_type);
      field("Content-Length", std::to_string(response.body.size()));
    }
    for (const auto& [name, value] : response.headers) field(name, value);
    if (!keep) field("Connection", "close");
    if (keep && version == 10) field("Connection", "keep-alive");
    head += "\r\n";
    return head;
  }

  awaitable<bool> write(const Exchange& exchange, Response response, const Parser& parser,
                        bool keep) {
    const auto& asked = parser.get();
    const bool head_only = asked.method() == bhttp::verb::head || response.status == 204;
    keep = keep && !service_->draining();
    const std::string head = head_of(response, asked.version(), keep);
    const std::array<asio::const_buffer, 2> whole{
        asio::buffer(head), head_only ? asio::const_buffer() : asio::buffer(response.body)};
    error_code error;
    end_within(settings().write_timeout);
    co_await asio::async_write(stream_, whole, into(error));
    service_->finished(exchange, response.status, head_only ? 0 : response.body.size());
    co_return keep && !error;
  }

  // Closes so that the peer can still read what was last written: a reset would throw it away.
  awaitable<void> say_goodbye() {
    error_code error;
    end_within(kFarewell);
    if constexpr (std::is_same_v<Stream, Secure>) co_await stream_.async_shutdown(into(error));
    socket().shutdown(tcp::socket::shutdown_send, error);
    constexpr std::size_t kMost = 4 << 20;
    for (std::size_t taken = 0; !error && !late_ && taken < kMost;) {
      const std::size_t gone = co_await drop_off_the_wire(kMost - taken);
      if (gone == 0) break;
      taken += gone;
    }
    socket().close(error);
  }

  Stream stream_;
  asio::steady_timer timer_;
  Clock::time_point due_ = Clock::time_point::max();
  std::shared_ptr<Service> service_;
  std::unique_ptr<OpenConnections::Place> place_;
  beast::flat_buffer buffer_;
  boost::optional<std::uint64_t> left_;  // bytes of the body still to come; nothing: unknown
  std::string peer_;
  bool is_local_ = false;
  bool idle_ = false;
  bool continued_ = false;
  bool late_ = false;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace

OpenConnections::Place::Place(std::shared_ptr<OpenConnections> all) : all_(std::move(all)) {
  const std::lock_guard lock(all_->mutex_);
  at_ = all_->closes_.emplace(all_->closes_.end());
}
OpenConnections::Place::~Place() {
  const std::lock_guard lock(all_->mutex_);
  all_->closes_.erase(at_);
}
void OpenConnections::Place::close_by(Close close) {
  const std::lock_guard lock(all_->mutex_);
  *at_ = std::move(close);
}
std::size_t OpenConnections::count() const {
  const std::lock_guard lock(mutex_);
  return closes_.size();
}
void OpenConnections::close_all(bool only_idle) {
  const std::lock_guard lock(mutex_);
  for (const Close& close : closes_)
    if (close) close(only_idle);
}

awaitable<void> serve_connection(tcp::socket socket, std::shared_ptr<asio::ssl::context> tls,
                                 std::shared_ptr<Service> service,
                                 std::unique_ptr<OpenConnections::Place> place) {
  if (tls) {
    Connection<Secure> connection(Secure(std::move(socket), *tls), std::move(service),
                                  std::move(place));
    co_await connection.run();
  } else {
    Connection<Plain> connection(Plain(std::move(socket)), std::move(service), std::move(place));
    co_await connection.run();
  }
}

}  // namespace bifocal::http
