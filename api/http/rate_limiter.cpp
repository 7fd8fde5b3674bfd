#include "rate_limiter.h"

#include <algorithm>
#include <utility>

namespace bifocal::http {
namespace {

using Seconds = std::chrono::duration<double>;
constexpr Seconds kDay{86400};

// Very small rates must not pass what a clock can count.
RateLimiter::Clock::duration capped(Seconds time) {
  return std::chrono::ceil<RateLimiter::Clock::duration>(std::min(time, kDay));
}

}  // namespace

RateLimiter::RateLimiter(std::size_t max_clients, std::function<Clock::time_point()> now)
    : max_clients_(std::max<std::size_t>(max_clients, 1)), now_(std::move(now)) {}

std::optional<std::chrono::milliseconds> RateLimiter::refuse(std::string_view client,
                                                             double per_minute) {
  if (!(per_minute > 0)) return std::nullopt;  // NaN is no limit either
  const double per_second = per_minute / 60;
  const double burst = std::max(per_minute, 1.0);
  const std::scoped_lock lock(mutex_);
  const Clock::time_point now = now_();
  Bucket& bucket = bucket_of(client, burst, now);
  const double grown = Seconds(now - bucket.filled).count() * per_second;
  bucket.tokens = std::min(bucket.tokens + std::max(grown, 0.0), burst);
  bucket.filled = now;
  // A wait that was kept to the letter must not fail for a rounding.
  constexpr double kOne = 1 - 1e-9;
  const bool goes_on = bucket.tokens >= kOne;
  if (goes_on) bucket.tokens = std::max(bucket.tokens - 1, 0.0);
  bucket.full = now + capped(Seconds((burst - bucket.tokens) / per_second));
  const Seconds wait((1 - bucket.tokens) / per_second);
  forget(now);
  if (goes_on) return std::nullopt;
  return std::max(std::chrono::ceil<std::chrono::milliseconds>(capped(wait)),
                  std::chrono::milliseconds(1));
}

std::size_t RateLimiter::clients() const {
  const std::scoped_lock lock(mutex_);
  return buckets_.size();
}

RateLimiter::Bucket& RateLimiter::bucket_of(std::string_view client, double burst,
                                            Clock::time_point now) {
  if (const auto known = by_client_.find(client); known != by_client_.end()) {
    buckets_.splice(buckets_.begin(), buckets_, known->second);
  } else {
    buckets_.push_front({std::string(client), burst, now, now});
    by_client_.emplace(buckets_.front().client, buckets_.begin());
  }
  return buckets_.front();
}

// From the end, where those are that asked longest ago; never the first, which is asking.
void RateLimiter::forget(Clock::time_point now) {
  while (buckets_.size() > 1 && (buckets_.size() > max_clients_ || buckets_.back().full <= now)) {
    by_client_.erase(buckets_.back().client);
    buckets_.pop_back();
  }
}

}  // namespace bifocal::http
