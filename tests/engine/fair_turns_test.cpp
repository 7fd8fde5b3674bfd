#include "engine/fair_turns.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

namespace bifocal::engine {
namespace {

struct CountedJob {
  CountedJob(std::string name, std::size_t items, double price)
      : name_(std::move(name)), left(items), price_(price) {}
  const std::string& client() const { return name_; }
  bool has_next() const { return left > 0; }
  double price_of_next() const { return price_; }

  std::string name_;
  std::size_t left;
  double price_;
};

using Turns = FairTurns<CountedJob>;

// Takes one item; says of which job.
std::shared_ptr<CountedJob> take(Turns& turns) {
  auto job = turns.next();
  --job->left;
  turns.put_back(job);
  return job;
}

TEST(FairTurns, GivesEveryItemOnceAndIsThenEmpty) {
  Turns turns;
  std::map<std::string, int> taken;
  for (int job = 0; job < 30; ++job)
    turns.add(std::make_shared<CountedJob>("client" + std::to_string(job % 4), job % 7, 1.0));
  int expected = 0;
  for (int job = 0; job < 30; ++job) expected += job % 7;
  int count = 0;
  while (!turns.empty()) {
    ++taken[take(turns)->name_];
    ++count;
  }
  EXPECT_EQ(count, expected);
}

TEST(FairTurns, AnItemOfALateClientIsNextWhateverAnotherHasWaiting) {
  Turns turns;
  turns.add(std::make_shared<CountedJob>("large", 2048, 1.0));
  for (int i = 0; i < 100; ++i) take(turns);
  turns.add(std::make_shared<CountedJob>("small", 1, 1.0));
  bool served = false;
  for (int i = 0; i < 2; ++i) served = take(turns)->name_ == "small" || served;
  EXPECT_TRUE(served);
}

TEST(FairTurns, ClientsShareByPriceNotByCount) {
  Turns turns;
  turns.add(std::make_shared<CountedJob>("photographs", 10000, 10.0));
  turns.add(std::make_shared<CountedJob>("texts", 10000, 1.0));
  std::map<std::string, int> taken;
  for (int i = 0; i < 1100; ++i) ++taken[take(turns)->name_];
  EXPECT_NEAR(taken["photographs"], 100, 2);
  EXPECT_NEAR(taken["texts"], 1000, 2);
}

TEST(FairTurns, AClientThatWasAwayHasNoCreditForIt) {
  Turns turns;
  turns.add(std::make_shared<CountedJob>("a", 1000, 1.0));
  for (int i = 0; i < 500; ++i) take(turns);
  turns.add(std::make_shared<CountedJob>("b", 1000, 1.0));
  std::map<std::string, int> taken;
  for (int i = 0; i < 200; ++i) ++taken[take(turns)->name_];
  EXPECT_NEAR(taken["a"], 100, 2);
}

TEST(FairTurns, TheJobsOfOneClientTakeTurnsToo) {
  Turns turns;
  const auto large = std::make_shared<CountedJob>("a", 1000, 1.0);
  const auto small = std::make_shared<CountedJob>("a", 3, 1.0);
  turns.add(large);
  turns.add(small);
  for (int i = 0; i < 6; ++i) take(turns);
  EXPECT_EQ(small->left, 0u);
}

}  // namespace
}  // namespace bifocal::engine
