#include "image_fetcher.h"

#include <openssl/ssl.h>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/vector_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include <algorithm>
#include <optional>
#include <utility>

#include "bifocal/error.h"
#include "bifocal/version.h"

namespace bifocal::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::awaitable;
using asio::ip::tcp;

awaitable<std::vector<asio::ip::address>> look_up(const std::string& host) {
  tcp::resolver resolver(co_await asio::this_coro::executor);
  const auto found = co_await resolver.async_resolve(host, "", asio::use_awaitable);
  std::vector<asio::ip::address> addresses;
  for (const auto& entry : found) addresses.push_back(entry.endpoint().address());
  co_return addresses;
}

std::shared_ptr<asio::ssl::context> trusting(const std::string& ca_file) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  ::SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  context->set_verify_mode(asio::ssl::verify_peer);
  boost::system::error_code error;
  if (ca_file.empty())
    context->set_default_verify_paths(error);
  else
    context->load_verify_file(ca_file, error);
  if (error && !ca_file.empty())
    throw Error(ErrorCode::kInvalidArgument,
                "url-ca-file: " + ca_file + " is not a readable file of certificates in PEM",
                error.message());
  return context;
}

// What happened on the way is the caller's to know only so far as it is about their URL.
Error failed(const std::string& why, std::string detail = {}) {
  return Error(ErrorCode::kFetchFailed, "the image could not be fetched: " + why,
               std::move(detail));
}

}  // namespace

// One answer: an image, or where to look next.
struct ImageFetcher::Hop {
  std::vector<std::byte> body;
  std::optional<std::string> location;
};

ImageFetcher::ImageFetcher(FetchSettings settings, Resolve resolve)
    : settings_(std::move(settings)),
      policy_(settings_.allowed_hosts, settings_.allowed_networks),
      resolve_(resolve ? std::move(resolve) : Resolve(look_up)),
      tls_(policy_.allows_nothing() ? nullptr : trusting(settings_.ca_file)) {}

awaitable<std::vector<std::byte>> ImageFetcher::fetch(std::string text) const {
  if (policy_.allows_nothing())
    throw Error(ErrorCode::kForbidden,
                "images are not fetched by URL here (url-host is not set); send the image itself");
  const auto deadline = std::chrono::steady_clock::now() + settings_.timeout;
  Url url = parse_url(text);
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    auto fetching = fetch_one(url, deadline);
    Hop answer = co_await std::move(fetching);
    if (!answer.location) co_return std::move(answer.body);
    Url next = follow(url, *answer.location);
    if (url.secure && !next.secure) throw failed("it was sent from https on to http");
    url = std::move(next);
  }
  throw failed("more than " + std::to_string(kMaxRedirects) + " redirects");
}

awaitable<ImageFetcher::Hop> ImageFetcher::fetch_one(
    Url url, std::chrono::steady_clock::time_point deadline) const {
  using namespace asio::experimental::awaitable_operators;
  if (!policy_.allows_host(url.host, url.port, url.default_port()))
    throw Error(ErrorCode::kForbidden, "images are not fetched from this host (url-host)");
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, deadline);

  std::vector<asio::ip::address> addresses;
  boost::system::error_code parse_error;
  const auto literal = asio::ip::make_address(url.host, parse_error);
  if (!parse_error) {
    addresses.push_back(literal);
  } else {
    std::optional<Error> failure;
    try {
      auto resolving = resolve_(url.host);
      auto found = co_await (std::move(resolving) || timer.async_wait(asio::use_awaitable));
      if (found.index() != 0)
        failure = failed("its host was not found in time");
      else
        addresses = std::get<0>(std::move(found));
    } catch (const boost::system::system_error& error) {
      failure = failed("its host is not known", error.what());
    }
    if (failure) throw *failure;
  }
  // From here on names play no part: what was judged is what is connected to.
  std::erase_if(addresses,
                [this](const auto& address) { return !policy_.allows_address(address); });
  if (addresses.empty())
    throw Error(ErrorCode::kForbidden,
                "images are not fetched from this address: it is not a public one (url-network)");

  std::optional<Error> failure;
  try {
    beast::tcp_stream stream(executor);
    stream.expires_at(deadline);
    std::vector<tcp::endpoint> endpoints;
    endpoints.reserve(addresses.size());
    for (const auto& address : addresses) endpoints.emplace_back(address, url.port);
    co_await stream.async_connect(endpoints, asio::use_awaitable);
    if (!url.secure) co_return co_await exchange(stream, url);
    beast::ssl_stream<beast::tcp_stream> secure(std::move(stream), *tls_);
    secure.set_verify_callback(asio::ssl::host_name_verification(url.host));
    if (parse_error) ::SSL_set_tlsext_host_name(secure.native_handle(), url.host.c_str());
    co_await secure.async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
    co_return co_await exchange(secure, url);
  } catch (const boost::system::system_error& error) {
    if (error.code() == beast::http::error::body_limit)
      failure = Error(ErrorCode::kImageTooLarge, "the image behind the URL has more than " +
                                                     std::to_string(settings_.max_bytes) +
                                                     " bytes (url-max-bytes)");
    else if (error.code() == beast::error::timeout)
      failure = failed("it took longer than " + std::to_string(settings_.timeout.count()) +
                       " ms (url-timeout-ms)");
    else
      failure = failed("the connection failed", error.what());
  }
  throw *failure;
}

template <typename Stream>
awaitable<ImageFetcher::Hop> ImageFetcher::exchange(Stream& stream, const Url& url) const {
  namespace http = beast::http;
  http::request<http::empty_body> request(http::verb::get, url.target, 11);
  request.set(http::field::host, url.authority);
  request.set(http::field::user_agent, "bifocal/" BIFOCAL_VERSION);
  request.set(http::field::accept, "image/*");
  request.set(http::field::connection, "close");
  co_await http::async_write(stream, request, asio::use_awaitable);

  beast::flat_buffer buffer(64 * 1024);
  http::response_parser<http::vector_body<std::byte>> parser;
  parser.header_limit(16 * 1024);
  parser.body_limit(settings_.max_bytes);
  co_await http::async_read_header(stream, buffer, parser, asio::use_awaitable);
  const auto& header = parser.get();
  const unsigned status = header.result_int();
  Hop hop;
  if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) {
    if (header.find(http::field::location) == header.end())
      throw failed("a redirect that leads nowhere");
    hop.location = std::string(header[http::field::location]);
    co_return hop;
  }
  if (status != 200) throw failed("the answer was HTTP " + std::to_string(status));
  if (const auto coding = header[http::field::content_encoding];
      !coding.empty() && coding != "identity")
    throw failed("the answer is compressed, which was not asked for");
  co_await http::async_read(stream, buffer, parser, asio::use_awaitable);
  hop.body = std::move(parser.get().body());
  co_return hop;
}

}  // namespace bifocal::http
