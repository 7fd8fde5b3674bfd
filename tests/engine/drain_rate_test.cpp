#include "engine/drain_rate.h"

#include <gtest/gtest.h>

namespace bifocal::engine {
namespace {

using namespace std::chrono_literals;

class DrainRateTest : public ::testing::Test {
 protected:
  // `seconds` of work at `rate`, told in steps of 10 ms.
  void work(double seconds, double busy, double rate) {
    for (int step = 0; step < static_cast<int>(seconds * 100); ++step) {
      now_ += 10ms;
      measured_.record(now_, busy, rate * 0.01);
    }
  }
  DrainRate::Clock::time_point now_ = DrainRate::Clock::time_point{} + 1h;
  DrainRate measured_{2.0};
};

TEST_F(DrainRateTest, BeginsWithTheGuess) { EXPECT_DOUBLE_EQ(measured_.per_second(), 2.0); }

TEST_F(DrainRateTest, FindsTheRateOfTheWorkAndFollowsItsChanges) {
  work(10, 1.0, 0.5);
  EXPECT_NEAR(measured_.per_second(), 0.5, 0.2);
  work(20, 1.0, 4.0);
  EXPECT_NEAR(measured_.per_second(), 4.0, 0.5);
}

TEST_F(DrainRateTest, IdleTimeIsNotSlowness) {
  work(10, 1.0, 3.0);
  const double before = measured_.per_second();
  work(1000, 0.0, 0.0);
  EXPECT_DOUBLE_EQ(measured_.per_second(), before);
}

TEST_F(DrainRateTest, HalfTheLanesBusyIsHalfTheTime) {
  work(20, 0.5, 1.0);  // one of two workers had work, and did one second of it a second
  EXPECT_NEAR(measured_.per_second(), 2.0, 0.2);
}

}  // namespace
}  // namespace bifocal::engine
