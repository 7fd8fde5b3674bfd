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
 public:
  struct Entry {
    std::function<void(bool only_idle)> close;  // any thread may call it
  };
  using Place = std::list<Entry>::iterator;

  Place add(Entry entry);
  void remove(Place place);
  std::size_t count() const;
  void close_all(bool only_idle);

 private:
  mutable std::mutex mutex_;
  std::list<Entry> entries_;
};

// Serves one connection until either side closes it: HTTP/1.1 (RFC 9112) with keep-alive,
// pipelining, chunked bodies and Expect: 100-continue; over TLS where `tls` is not null. Runs on
// the socket's executor, which is a strand. Throws nothing.
boost::asio::awaitable<void> serve_connection(boost::asio::ip::tcp::socket socket,
                                              std::shared_ptr<boost::asio::ssl::context> tls,
                                              std::shared_ptr<Service> service,
                                              std::shared_ptr<OpenConnections> connections);

}  // namespace bifocal::http
