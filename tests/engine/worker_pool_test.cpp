#include "engine/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace bifocal::engine {
namespace {

TEST(WorkerPool, CallsEachIndexOnceWhateverTheNumbers) {
  for (const int threads : {1, 2, 5}) {
    WorkerPool pool(threads);
    EXPECT_EQ(pool.size(), static_cast<std::size_t>(threads));
    for (const std::size_t count : {0u, 1u, 3u, 1000u}) {
      std::vector<std::atomic<int>> calls(count);
      pool.for_each(count, [&](std::size_t i) { ++calls[i]; });
      for (const auto& number : calls) EXPECT_EQ(number, 1);
    }
  }
}

TEST(WorkerPool, ManyCallersShareIt) {
  WorkerPool pool(2);
  std::atomic<std::size_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 8; ++caller)
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) pool.for_each(7, [&](std::size_t i) { total += i; });
    });
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total, 8u * 50u * 21u);
}

TEST(WorkerPool, ZeroMeansOneForEachAllowedCore) { EXPECT_GE(WorkerPool(0).size(), 1u); }

}  // namespace
}  // namespace bifocal::engine
