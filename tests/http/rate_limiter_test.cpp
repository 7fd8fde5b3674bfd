#include "rate_limiter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace bifocal::http {
namespace {

using namespace std::chrono_literals;
using Clock = RateLimiter::Clock;

class RateLimiterTest : public ::testing::Test {
 protected:
  RateLimiter limiter(std::size_t max_clients = 65536) {
    return RateLimiter(max_clients, [this] { return now_; });
  }
  Clock::time_point now_{1000h};
};

TEST_F(RateLimiterTest, LetsOneMinutesWorthThroughAtOnce) {
  auto rates = limiter();
  for (int i = 0; i < 60; ++i) EXPECT_FALSE(rates.refuse("a", 60)) << i;
  EXPECT_EQ(rates.refuse("a", 60), 1000ms);
}

TEST_F(RateLimiterTest, WaitIsExactlyEnough) {
  std::mt19937 random(11);
  std::uniform_real_distribution<double> any_rate(0.1, 5000);
  for (int trial = 0; trial < 200; ++trial) {
    auto rates = limiter();
    const double rate = any_rate(random);
    while (!rates.refuse("a", rate)) {
    }
    const auto wait = rates.refuse("a", rate);
    ASSERT_TRUE(wait);
    if (*wait > 2ms) {
      now_ += *wait - 2ms;
      EXPECT_TRUE(rates.refuse("a", rate)) << rate;
      now_ += 2ms;
    } else {
      now_ += *wait;
    }
    EXPECT_FALSE(rates.refuse("a", rate)) << rate;
  }
}

// However the requests come, no stretch of time sees more than its share and one burst.
TEST_F(RateLimiterTest, NeverMoreThanTheRateAndOneBurst) {
  std::mt19937 random(5);
  std::exponential_distribution<double> gap(1);
  for (const double rate : {0.5, 1.0, 7.0, 300.0}) {
    auto rates = limiter();
    const auto began = now_;
    double let_through = 0;
    for (int i = 0; i < 20000; ++i) {
      now_ += std::chrono::ceil<Clock::duration>(
          std::chrono::duration<double>(gap(random) * 20 / rate));
      if (!rates.refuse("a", rate)) ++let_through;
      const double minutes = std::chrono::duration<double>(now_ - began).count() / 60;
      ASSERT_LE(let_through, std::max(rate, 1.0) + minutes * rate + 1e-3);
    }
    const double minutes = std::chrono::duration<double>(now_ - began).count() / 60;
    EXPECT_GT(let_through, 0.7 * minutes * rate) << "who asks three times as often gets most";
  }
}

TEST_F(RateLimiterTest, RefusalsCostNothing) {
  auto rates = limiter();
  while (!rates.refuse("a", 60)) {
  }
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(rates.refuse("a", 60));
  now_ += 1s;
  EXPECT_FALSE(rates.refuse("a", 60));
}

TEST_F(RateLimiterTest, ClientsDoNotShareABucket) {
  auto rates = limiter();
  while (!rates.refuse("greedy", 60)) {
  }
  EXPECT_FALSE(rates.refuse("other", 60));
  EXPECT_FALSE(rates.refuse("", 60));
}

TEST_F(RateLimiterTest, NoRateIsNoLimitAndRemembersNobody) {
  auto rates = limiter();
  for (const double rate : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()})
    for (int i = 0; i < 1000; ++i) EXPECT_FALSE(rates.refuse("a", rate));
  EXPECT_EQ(rates.clients(), 0U);
}

TEST_F(RateLimiterTest, ExtremeRatesStayWithinADay) {
  auto rates = limiter();
  const double least = std::numeric_limits<double>::denorm_min();
  EXPECT_FALSE(rates.refuse("slow", least));
  EXPECT_EQ(rates.refuse("slow", least), 24h);
  for (int i = 0; i < 1000; ++i)
    EXPECT_FALSE(rates.refuse("fast", std::numeric_limits<double>::max()));
}

TEST_F(RateLimiterTest, LowerRateHoldsFromTheNextRequest) {
  auto rates = limiter();
  EXPECT_FALSE(rates.refuse("a", 1000));
  EXPECT_FALSE(rates.refuse("a", 2));
  EXPECT_FALSE(rates.refuse("a", 2));
  EXPECT_TRUE(rates.refuse("a", 2));
}

TEST_F(RateLimiterTest, ForgetsFullBuckets) {
  auto rates = limiter();
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(rates.refuse(std::to_string(i), 60));
  EXPECT_EQ(rates.clients(), 100U);
  now_ += 61s;
  EXPECT_FALSE(rates.refuse("late", 60));
  EXPECT_EQ(rates.clients(), 1U);
}

TEST_F(RateLimiterTest, IsBoundedAndForgetsWhoAskedLongestAgo) {
  auto rates = limiter(/*max_clients=*/10);
  while (!rates.refuse("busy", 5)) {
  }
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(rates.refuse(std::to_string(i), 5));
    EXPECT_TRUE(rates.refuse("busy", 5)) << "a crowd must not free who goes on asking";
    EXPECT_LE(rates.clients(), 10U);
  }
}

TEST_F(RateLimiterTest, ThreadsShareOneBucket) {
  RateLimiter rates(100, [] { return Clock::time_point{1h}; });
  std::atomic<int> let_through{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 2000; ++i) {
          if (!rates.refuse("shared", 500)) ++let_through;
          rates.refuse(std::to_string(t * 2000 + i), 500);
        }
      });
  }
  EXPECT_EQ(let_through, 500);
}

}  // namespace
}  // namespace bifocal::http
