#include "image_fetcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <map>
#include <thread>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

namespace asio = boost::asio;
using asio::ip::address;
using asio::ip::tcp;
using namespace std::chrono_literals;

// Answers each path with what it was told to; one request a connection, on a thread of its own.
class Site {
 public:
  Site() : acceptor_(io_, {asio::ip::make_address("127.0.0.1"), 0}), thread_([this] { run(); }) {}
  ~Site() {
    stopping_ = true;
    tcp::socket last(io_);
    boost::system::error_code ignored;
    last.connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
  }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  void answer(const std::string& path, const std::string& whole) { answers_[path] = whole; }
  std::string port() const { return std::to_string(acceptor_.local_endpoint().port()); }
  int requests() const { return requests_; }

 private:
  void run() {
    for (;;) {
      tcp::socket socket(io_);
      acceptor_.accept(socket);
      if (stopping_) return;
      boost::system::error_code error;
      asio::streambuf buffer;
      asio::read_until(socket, buffer, "\r\n\r\n", error);
      if (error) continue;
      ++requests_;
      std::istream stream(&buffer);
      std::string method, path;
      stream >> method >> path;
      const auto found = answers_.find(path);
      asio::write(socket,
                  asio::buffer(found == answers_.end()
                                   ? "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                                   : found->second),
                  error);
      if (path == "/slow") std::this_thread::sleep_for(1s);
    }
  }

  asio::io_context io_;
  tcp::acceptor acceptor_;
  std::map<std::string, std::string> answers_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  std::thread thread_;
};

std::string ok(const std::string& body) {
  return "HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}
std::string redirect(const std::string& to) {
  return "HTTP/1.1 302 Found\r\nLocation: " + to + "\r\nContent-Length: 0\r\n\r\n";
}

class ImageFetcherTest : public ::testing::Test {
 protected:
  FetchSettings open_to_loopback() const {
    FetchSettings settings;
    settings.allowed_hosts = {"*:" + site_.port()};
    settings.allowed_networks = {"127.0.0.0/8"};
    settings.max_bytes = 1000;
    settings.timeout = 500ms;
    return settings;
  }

  // Every name leads to these, the next answer each time and then the last again.
  Resolve leads_to(std::vector<std::string> addresses) {
    return [this, addresses](const std::string&) -> asio::awaitable<std::vector<address>> {
      const std::size_t at = std::min<std::size_t>(lookups_++, addresses.size() - 1);
      co_return std::vector<address>(1, asio::ip::make_address(addresses[at]));
    };
  }

  // "ok: BODY", or the code's name.
  static std::string fetch(const ImageFetcher& fetcher, const std::string& url) {
    asio::io_context io;
    auto result = asio::co_spawn(io, fetcher.fetch(url), asio::use_future);
    io.run();
    try {
      const std::vector<std::byte> bytes = result.get();
      return "ok: " + std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } catch (const Error& error) {
      return std::string(traits(error.code()).name);
    }
  }

  std::string url(const std::string& path, const std::string& host = "site.test") const {
    return "http://" + host + ":" + site_.port() + path;
  }

  Site site_;
  std::size_t lookups_ = 0;
};

TEST_F(ImageFetcherTest, IsOffUntilHostsAreNamed) {
  const ImageFetcher fetcher({}, leads_to({"127.0.0.1"}));
  EXPECT_EQ(fetch(fetcher, url("/a")), "forbidden");
  EXPECT_EQ(lookups_, 0U);
  EXPECT_EQ(site_.requests(), 0);
}

TEST_F(ImageFetcherTest, GivesTheBodyAndLooksTheNameUpOnce) {
  site_.answer("/a", ok("picture"));
  const ImageFetcher fetcher(open_to_loopback(), leads_to({"127.0.0.1", "10.0.0.1"}));
  EXPECT_EQ(fetch(fetcher, url("/a")), "ok: picture");
  EXPECT_EQ(lookups_, 1U);
}

TEST_F(ImageFetcherTest, AnAddressInsideIsRefusedWhateverItsName) {
  site_.answer("/a", ok("secret"));
  FetchSettings settings = open_to_loopback();
  settings.allowed_networks.clear();
  for (const char* inside : {"127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"})
    EXPECT_EQ(fetch(ImageFetcher(settings, leads_to({inside})), url("/a")), "forbidden") << inside;
  EXPECT_EQ(fetch(ImageFetcher(settings), url("/a", "127.0.0.1")), "forbidden");
  EXPECT_EQ(site_.requests(), 0);
}

// A name that is public when it is judged and private when it is connected to.
TEST_F(ImageFetcherTest, RebindingHasNothingToRebind) {
  site_.answer("/a", redirect(url("/secret", "again.test")));
  site_.answer("/secret", ok("secret"));
  FetchSettings settings = open_to_loopback();
  settings.allowed_networks = {"127.0.0.1/32"};
  const ImageFetcher fetcher(settings, leads_to({"127.0.0.1", "127.0.0.2"}));
  EXPECT_EQ(fetch(fetcher, url("/a")), "forbidden");  // the second look-up is judged anew
  EXPECT_EQ(lookups_, 2U);
  EXPECT_EQ(site_.requests(), 1);
}

TEST_F(ImageFetcherTest, EachRedirectIsJudged) {
  site_.answer("/a", redirect("/b"));
  site_.answer("/b", ok("picture"));
  site_.answer("/out", redirect("http://other.test/x"));
  site_.answer("/file", redirect("file:///etc/passwd"));
  site_.answer("/round", redirect("/round"));
  const ImageFetcher fetcher(open_to_loopback(), leads_to({"127.0.0.1"}));
  EXPECT_EQ(fetch(fetcher, url("/a")), "ok: picture");
  EXPECT_EQ(fetch(fetcher, url("/out")), "forbidden");  // port 80 is not on the list
  EXPECT_EQ(fetch(fetcher, url("/file")), "invalid_item");
  const int before = site_.requests();
  EXPECT_EQ(fetch(fetcher, url("/round")), "fetch_failed");
  EXPECT_EQ(site_.requests() - before, ImageFetcher::kMaxRedirects + 1);
}

TEST_F(ImageFetcherTest, SizeAndTimeAreBounded) {
  site_.answer("/large", ok(std::string(1001, 'x')));
  site_.answer("/claims", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n");
  site_.answer("/endless", "HTTP/1.1 200 OK\r\n\r\n" + std::string(5000, 'x'));
  site_.answer("/slow", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
  site_.answer("/junk", "SSH-2.0-OpenSSH\r\n\r\n");
  const ImageFetcher fetcher(open_to_loopback(), leads_to({"127.0.0.1"}));
  EXPECT_EQ(fetch(fetcher, url("/large")), "image_too_large");
  EXPECT_EQ(fetch(fetcher, url("/claims")), "image_too_large");
  EXPECT_EQ(fetch(fetcher, url("/endless")), "image_too_large");
  EXPECT_EQ(fetch(fetcher, url("/slow")), "fetch_failed");
  EXPECT_EQ(fetch(fetcher, url("/junk")), "fetch_failed");
  EXPECT_EQ(fetch(fetcher, url("/absent")), "fetch_failed");
}

}  // namespace
}  // namespace bifocal::http
