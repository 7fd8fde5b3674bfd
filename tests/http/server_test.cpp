// A whole server on loopback, in this process, under clients that are many, impatient, or gone.

#include "server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/base64.h"
#include "encoded_picture.h"
#include "temporary_directory.h"
#include "tiny_bundle.h"

namespace bifocal::http {
namespace {

namespace asio = boost::asio;
namespace bhttp = boost::beast::http;
using asio::ip::tcp;
using nlohmann::json;
using namespace std::chrono_literals;

using Answer = bhttp::response<bhttp::string_body>;

// One connection that waits for its answers.
class Client {
 public:
  explicit Client(unsigned short port) : socket_(io_) {
    socket_.connect({asio::ip::make_address("127.0.0.1"), port});
  }

  void send(std::string_view bytes) { asio::write(socket_, asio::buffer(bytes)); }
  Answer receive() {
    Answer answer;
    bhttp::read(socket_, buffer_, answer);
    return answer;
  }
  Answer get(const std::string& path) {
    send("GET " + path + " HTTP/1.1\r\nHost: here\r\n\r\n");
    return receive();
  }
  Answer post(const std::string& path, const json& body, const std::string& headers = {}) {
    send(request(path, body.dump(), headers));
    return receive();
  }
  void hang_up() { socket_.close(); }

  static std::string request(const std::string& path, const std::string& body,
                             const std::string& headers = {}) {
    return "POST " + path + " HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n" +
           headers + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

 private:
  asio::io_context io_;
  tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
};

// serve() in a thread, stopped as an operator stops it.
class RunningServer {
 public:
  explicit RunningServer(Settings settings) {
    settings.port = 0;
    settings.pin_workers = false;
    settings.log_file = (log_ / "log").string();
    thread_ = std::thread([this, settings] {
      try {
        serve(settings);
      } catch (const std::exception& error) {
        failure_ = error.what();
      }
      ended_ = true;
    });
    while (port_ == 0 && !ended_) {
      std::this_thread::sleep_for(5ms);
      for (const json& line : log_lines())
        if (line["event"] == "listening") port_ = line["port"].get<unsigned short>();
    }
    EXPECT_NE(port_, 0) << failure_;
  }
  ~RunningServer() { stop(); }

  unsigned short port() const noexcept { return port_; }

  void reload() const { ::kill(::getpid(), SIGHUP); }
  // Once: a second signal ends a process at once, and this is the test's own.
  void ask_to_stop() {
    if (!asked_.exchange(true) && !ended_) ::kill(::getpid(), SIGTERM);
  }
  void stop() {
    if (!thread_.joinable()) return;
    ask_to_stop();
    thread_.join();
    EXPECT_EQ(failure_, "");
  }

  std::vector<json> log_lines() const {
    std::vector<json> lines;
    std::ifstream file(log_ / "log");
    for (std::string line; std::getline(file, line);)
      if (json::accept(line)) lines.push_back(json::parse(line));
    return lines;
  }
  std::size_t count_logged(const std::string& event) const {
    std::size_t count = 0;
    for (const json& line : log_lines()) count += line["event"] == event;
    return count;
  }

 private:
  bifocal::testing::TemporaryDirectory log_;
  std::thread thread_;
  std::string failure_;
  std::atomic<bool> ended_{false}, asked_{false};
  unsigned short port_ = 0;
};

class ServerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<bifocal::testing::TemporaryDirectory>();
    bundle_ = bifocal::testing::write_tiny_bundle(directory_->path(),
                                                  {{"animal", {"dog", "cat", "none"}}});
  }
  static void TearDownTestSuite() { directory_.reset(); }

  static Settings settings() {
    Settings settings;
    settings.model = bundle_.string();
    settings.threads = 2;
    settings.preparers = 2;
    settings.connection_threads = 2;
    return settings;
  }
  static std::string picture(std::uint32_t seed) {
    return core::base64_encode(bifocal::testing::encoded_picture(seed));
  }
  static void in_parallel(int count, const std::function<void(int)>& act) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back(act, i);
    for (std::thread& thread : threads) thread.join();
  }

  static std::unique_ptr<bifocal::testing::TemporaryDirectory> directory_;
  static std::filesystem::path bundle_;
};
std::unique_ptr<bifocal::testing::TemporaryDirectory> ServerTest::directory_;
std::filesystem::path ServerTest::bundle_;

std::vector<float> vector_of(const Answer& answer, std::size_t at = 0) {
  return json::parse(answer.body())["data"][at]["embedding"].get<std::vector<float>>();
}

void expect_near(const std::vector<float>& a, const std::vector<float>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5);
}

json with_text(const std::string& text) { return {{"items", {{{"text", text}}}}}; }

TEST_F(ServerTest, ManyClientsGetTheirOwnAnswersWhileTheBundleIsReloaded) {
  RunningServer server(settings());
  const std::vector<std::string> texts{"a red dog", "the cat sleeps", "a house", "dog on cat"};
  std::vector<std::vector<float>> expected;
  std::vector<float> expected_of_picture;
  {
    Client client(server.port());
    for (const std::string& text : texts)
      expected.push_back(vector_of(client.post("/v1/fused/embeddings", with_text(text))));
    expected_of_picture =
        vector_of(client.post("/v1/fused/embeddings", {{"items", {{{"image", picture(7)}}}}}));
  }
  in_parallel(6, [&](int which) {
    Client client(server.port());
    for (int round = 0; round < 12; ++round) {
      const std::size_t text = static_cast<std::size_t>(which + round) % texts.size();
      expect_near(vector_of(client.post("/v1/fused/embeddings", with_text(texts[text]))),
                  expected[text]);
      // Of several items, one of them bad, each has its own place.
      const json several = {{"items",
                             {{{"text", texts[text]}},
                              {{"text", ""}},
                              {{"image", picture(7)}},
                              {{"image", picture(8)}, {"text", "a cat"}}}}};
      const Answer answer = client.post("/v1/fused/embeddings", several);
      expect_near(vector_of(answer, 0), expected[text]);
      EXPECT_EQ(json::parse(answer.body())["data"][1]["object"], "error");
      expect_near(vector_of(answer, 2), expected_of_picture);
      // Two in one packet: HTTP/1.1 pipelining.
      client.send(
          Client::request("/v1/tokenize", json({{"texts", {texts[text]}}}).dump()) +
          Client::request("/v1/match",
                          json({{"items", {{{"image", picture(9)}, {"text", "a"}}}}}).dump()));
      EXPECT_EQ(client.receive().result_int(), 200);
      EXPECT_EQ(client.receive().result_int(), 200);
      const std::string id = std::to_string(which) + "-" + std::to_string(round);
      EXPECT_EQ(client.post("/v1/search/items", {{"items", {{{"id", id}, {"text", texts[text]}}}}})
                    .result_int(),
                200);
      EXPECT_EQ(client.post("/v1/search", {{"query", {{"text", "a dog"}}}, {"k", 3}}).result_int(),
                200);
      EXPECT_EQ(client.post("/v1/classify", with_text(texts[text])).result_int(), 200);
      for (const char* path : {"/metrics", "/health", "/v1/models"}) {
        EXPECT_EQ(client.get(path).result_int(), 200) << path;
      }
      if (which == 0 && round % 4 == 1) server.reload();
      if (which == 1 && round % 4 == 3) {
        EXPECT_EQ(client.post("/v1/admin/reload", json::object()).result_int(), 200);
      }
    }
  });
  server.stop();
  EXPECT_GE(server.count_logged("reloaded"), 1u);
  EXPECT_EQ(server.count_logged("reload_failed"), 0u);
  EXPECT_EQ(server.count_logged("index_emptied"), 0u);
}

TEST_F(ServerTest, ClientsThatGoAwayLeaveNothingBehind) {
  RunningServer server(settings());
  json many = {{"items", json::array()}};
  for (int i = 0; i < 200; ++i) many["items"].push_back({{"text", "a red dog runs"}});
  const std::string whole = Client::request("/v1/fused/embeddings", many.dump());
  in_parallel(8, [&](int which) {
    for (int round = 0; round < 6; ++round) {
      Client client(server.port());
      // Before its body is over, or while it is worked on.
      client.send(which % 2 == 0 ? whole.substr(0, whole.size() / 2) : whole);
      if (which % 4 == 1) std::this_thread::sleep_for(3ms);
      client.hang_up();
    }
  });
  Client client(server.port());
  const auto pending = [&client] {
    return json::parse(client.get("/health").body())["pending_items"].get<int>();
  };
  while (pending() > 0) std::this_thread::sleep_for(5ms);
  EXPECT_EQ(client.post("/v1/fused/embeddings", with_text("a dog")).result_int(), 200);
  // A connection gives its bytes back after its items are dropped.
  const auto held = [&client] {
    const std::string metrics = client.get("/metrics").body();
    return metrics.find("bifocal_held_body_bytes 0\n") == std::string::npos;
  };
  for (int wait = 0; wait < 2000 && held(); ++wait) std::this_thread::sleep_for(5ms);
  EXPECT_FALSE(held()) << "bytes of requests are still held";
}

TEST_F(ServerTest, WhatIsTooMuchIsRefusedWithATimeAndTheRestIsServed) {
  Settings few = settings();
  few.max_pending_items = 60;
  RunningServer server(few);
  json some = {{"items", json::array()}};
  for (int i = 0; i < 40; ++i) some["items"].push_back({{"text", "a red dog runs on the house"}});
  std::atomic<int> served{0}, refused{0};
  in_parallel(8, [&](int) {
    Client client(server.port());
    for (int round = 0; round < 10; ++round) {
      const Answer answer = client.post("/v1/fused/embeddings", some);
      if (answer.result_int() == 200) {
        ++served;
      } else {
        ++refused;
        EXPECT_EQ(answer.result_int(), 429);
        EXPECT_FALSE(answer["Retry-After"].empty());
      }
      EXPECT_TRUE(answer.keep_alive());
    }
  });
  EXPECT_GT(served, 0);
  EXPECT_GT(refused, 0);
}

TEST_F(ServerTest, DeadlinesPassAndOtherRequestsGoOn) {
  RunningServer server(settings());
  json many = {{"items", json::array()}};
  for (int i = 0; i < 400; ++i) many["items"].push_back({{"text", "a red dog runs on the house"}});
  in_parallel(6, [&](int which) {
    Client client(server.port());
    for (int round = 0; round < 5; ++round) {
      if (which % 2 == 0) {
        const Answer answer =
            client.post("/v1/fused/embeddings", many, "x-request-timeout-ms: 5\r\n");
        EXPECT_THAT(answer.result_int(), ::testing::AnyOf(200, 429, 504));
      } else {
        EXPECT_EQ(client.post("/v1/fused/embeddings", with_text("a cat")).result_int(), 200);
      }
    }
  });
}

TEST_F(ServerTest, StoppingAnswersWhatHasArrived) {
  json many = {{"items", json::array()}};
  for (int i = 0; i < 100; ++i) many["items"].push_back({{"text", "a red dog runs"}});
  const std::string whole = Client::request("/v1/fused/embeddings", many.dump());
  for (int round = 0; round < 8; ++round) {
    RunningServer server(settings());
    std::atomic<int> sent{0}, answered{0};
    std::thread operator_thread([&] {
      while (sent < 1 + round) std::this_thread::sleep_for(1ms);
      server.ask_to_stop();
    });
    in_parallel(8, [&](int which) {
      bool has_sent = false;
      try {
        Client client(server.port());
        // Some connections are new, some have waited for their next request.
        if (which % 2 == 0) client.get("/live");
        client.send(whole);
        has_sent = ++sent <= 1 + round;
        // The signal may have come before the header was read.
        EXPECT_THAT(client.receive().result_int(), ::testing::AnyOf(200, 503));
        ++answered;
      } catch (const boost::system::system_error& error) {
        // Refused or closed: right only where the request was sent after the signal.
        EXPECT_FALSE(has_sent) << error.what();
      }
    });
    operator_thread.join();
    server.stop();
    EXPECT_GE(answered, 1 + round);
    EXPECT_EQ(server.count_logged("stopped"), 1u);
    EXPECT_EQ(server.count_logged("connections_cut"), 0u);
  }
}

TEST_F(ServerTest, ChunkedBodiesArriveWhole) {
  RunningServer server(settings());
  in_parallel(4, [&](int which) {
    Client client(server.port());
    const std::string body = with_text(which % 2 == 0 ? "a dog" : "the cat sleeps").dump();
    for (int round = 0; round < 5; ++round) {
      client.send(
          "POST /v1/fused/embeddings HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
          "Transfer-Encoding: chunked\r\n\r\n");
      for (const char byte : body) client.send(std::string("1\r\n") + byte + "\r\n");
      client.send("0\r\n\r\n");
      EXPECT_EQ(client.receive().result_int(), 200);
    }
  });
}

}  // namespace
}  // namespace bifocal::http
