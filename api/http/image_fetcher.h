#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "address_policy.h"
#include "url.h"

namespace bifocal::http {

struct FetchSettings {
  std::vector<std::string> allowed_hosts;     // as AddressPolicy reads them; none: no fetching
  std::vector<std::string> allowed_networks;  // CIDR
  std::size_t max_bytes = 20'000'000;
  std::chrono::milliseconds timeout{10'000};  // for the whole of a fetch, redirects included
  std::string ca_file;                        // PEM; empty: the system's certificates
};

// Every address of a host. May throw boost::system::system_error.
using Resolve = std::function<boost::asio::awaitable<std::vector<boost::asio::ip::address>>(
    const std::string& host)>;

// Fetches images that strangers name, without becoming their way into the network: a host is
// allowed or not by its name, then looked up once, and the connection goes to an address of that
// one answer which is public or allowed. Each redirect is judged anew. Thread-safe.
class ImageFetcher {
 public:
  static constexpr int kMaxRedirects = 5;

  // Throws Error(kInvalidArgument) for settings that cannot be read. `resolve` replaces the
  // system's look-up.
  explicit ImageFetcher(FetchSettings settings, Resolve resolve = nullptr);

  // The body of what `url` leads to. Throws Error: kInvalidItem (the URL), kForbidden (not
  // allowed), kImageTooLarge, kFetchFailed (anything on the way).
  boost::asio::awaitable<std::vector<std::byte>> fetch(std::string url) const;

 private:
  struct Hop;
  boost::asio::awaitable<Hop> fetch_one(Url url,
                                        std::chrono::steady_clock::time_point deadline) const;
  template <typename Stream>
  boost::asio::awaitable<Hop> exchange(Stream& stream, const Url& url) const;

  const FetchSettings settings_;
  const AddressPolicy policy_;
  const Resolve resolve_;
  std::shared_ptr<boost::asio::ssl::context> tls_;
};

}  // namespace bifocal::http
