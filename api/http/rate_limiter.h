#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

namespace bifocal::http {

// A token bucket a client: `per_minute` requests a minute in the long run, one minute's worth (at
// least one request) at once. A request that is refused costs nothing. Thread-safe.
class RateLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  // Of more clients than `max_clients`, those that asked longest ago are forgotten and begin with a
  // full bucket: memory is bounded whoever asks. A bucket that is full again is forgotten as well.
  explicit RateLimiter(std::size_t max_clients = 65536,
                       std::function<Clock::time_point()> now = Clock::now);

  // Counts one request. Nothing where it may go on, else how long until one may: at least 1 ms, at
  // most a day. A rate that is not above zero means no limit. A client's rate may change from one
  // call to the next.
  std::optional<std::chrono::milliseconds> refuse(std::string_view client, double per_minute);

  std::size_t clients() const;  // remembered now

 private:
  struct Bucket {
    std::string client;
    double tokens = 0;  // requests
    Clock::time_point filled;
    Clock::time_point full;  // when it will be, if nobody asks
  };
  using Buckets = std::list<Bucket>;

  Bucket& bucket_of(std::string_view client, double burst, Clock::time_point now);
  void forget(Clock::time_point now);

  const std::size_t max_clients_;
  const std::function<Clock::time_point()> now_;
  mutable std::mutex mutex_;
  Buckets buckets_;  // who asked last is first
  std::map<std::string_view, Buckets::iterator> by_client_;
};

}  // namespace bifocal::http
