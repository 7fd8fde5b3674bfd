#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "service.h"

namespace bifocal::http {

// The connections that are open, so that those with nothing in hand can be closed when the server
// stops, and all of them when its patience ends. Thread-safe.
class OpenConnections {
  using Close = std::function<void(bool only_idle)>;  // any thread may call it

 public:
  // Counts as one connection while it lives.
  class Place {
   public:
    explicit Place(std::shared_ptr<OpenConnections> all);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    void close_by(Close close);

   private:
    std::shared_ptr<OpenConnections> all_;
    std::list<Close>::iterator at_;
  };

  std::size_t count() const;
  void close_all(bool only_idle);

 private:
  mutable std::mutex mutex_;
  std::list<Close> closes_;  // empty before a connection began
};

// Serves one connection until either side closes it: HTTP/1.1 (RFC 9112) with keep-alive,
// pipelining, chunked bodies and Expect: 100-continue; over TLS where `tls` is not null. Runs on
// the socket's executor, which is a strand. Throws nothing.
boost::asio::awaitable<void> serve_connection(boost::asio::ip::tcp::socket socket,
                                              std::shared_ptr<boost::asio::ssl::context> tls,
                                              std::shared_ptr<Service> service,
                                              std::unique_ptr<OpenConnections::Place> place);

}  // namespace bifocal::http
