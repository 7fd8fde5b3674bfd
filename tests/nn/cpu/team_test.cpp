#include "nn/cpu/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "every_kernel.h"
#include "nn/cpu/memory.h"
#include "nn/cpu/steps.h"
#include "operand.h"

namespace bifocal::nn::cpu {
namespace {

TEST(Team, DoesEachPartOnce) {
  for (const int threads : {1, 2, 5}) {
    Team team(threads);
    EXPECT_EQ(team.threads(), threads);
    for (int round = 0; round < 2000; ++round) {
      const int parts = round % 9;
      std::vector<std::atomic<int>> done(9);
      team.run(parts, [&](int part) { ++done[static_cast<std::size_t>(part)]; });
      for (int part = 0; part < 9; ++part)
        ASSERT_EQ(done[static_cast<std::size_t>(part)], part < parts ? 1 : 0);
    }
  }
}

TEST(Team, BeginsOnEachHelper) {
  std::atomic<int> numbers{0};
  {
    const Team team(4, [&](int number) { numbers += 1 << number; });
  }
  EXPECT_EQ(numbers, 0b1110);
}

TEST(Team, WorksOnSeveralThreads) {
  Team team(3);
  // Each part waits for the others: with fewer threads than parts they would never end.
  std::atomic<int> there{0};
  team.run(3, [&](int) {
    ++there;
    while (there < 3) std::this_thread::yield();
  });
  EXPECT_EQ(there, 3);
}

TEST(Team, WakesHelpersThatSleep) {
  Team team(2);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> there{0};
    team.run(2, [&](int) {
      ++there;
      while (there < 2) std::this_thread::yield();
    });
    EXPECT_EQ(there, 2);
  }
}

TEST(Team, ThrowsWhatAPartThrewWhenAllAreDone) {
  Team team(3);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> done{0};
    const auto run = [&] {
      team.run(6, [&](int part) {
        ++done;
        if (part % 2 == 0) throw std::runtime_error("a part failed");
      });
    };
    EXPECT_THROW(run(), std::runtime_error);
    EXPECT_EQ(done, 6);
    team.run(6, [&](int) { ++done; });
    EXPECT_EQ(done, 12);
  }
}

TEST(Team, IsTheThreadsOwnWhileItLives) {
  EXPECT_EQ(Team::own(), nullptr);
  {
    Team team(2);
    EXPECT_EQ(Team::own(), &team);
    const std::jthread other([] { EXPECT_EQ(Team::own(), nullptr); });
    {
      Team inner(1);
      EXPECT_EQ(Team::own(), &inner);
    }
    EXPECT_EQ(Team::own(), &team);
  }
  EXPECT_EQ(Team::own(), nullptr);
}

// Steps of a team against the kernel itself, to the bit.
class SharedStep : public EveryKernel {
 protected:
  std::vector<std::byte> operand(const std::vector<float>& values) {
    std::vector<std::byte> bytes(values.size() * element_bytes(kernels().precision));
    const auto count = static_cast<std::int64_t>(values.size());
    kernels().narrow(values.data(), count, 1, count, bytes.data(), count);
    return bytes;
  }
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }
};

INSTANTIATE_TEST_SUITE_P(Cpu, SharedStep, ::testing::ValuesIn(tables()), name_of);

TEST_P(SharedStep, ProductsHaveTheSameBits) {
  for (int round = 0; round < 60; ++round) {
    const bool is_tall = round % 2 == 0;
    const std::int64_t rows = is_tall ? between(100, 900) : between(1, 70);
    const std::int64_t depth = between(30, 300);
    const std::int64_t columns = is_tall ? between(10, 100) : between(100, 900);
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(depth) + " x " +
                 std::to_string(columns));
    const auto a = operand(normal(rows * depth));
    const std::vector<float> weight = normal(columns * depth), bias = normal(columns),
                             residual = normal(rows * columns);
    std::vector<std::byte> packed(kernels().packed_bytes(depth, columns));
    kernels().pack(weight.data(), depth, columns, packed.data());
    Gemm gemm;
    gemm.rows = rows;
    gemm.a = a.data();
    gemm.a_stride = depth;
    gemm.weights = packed.data();
    gemm.depth = depth;
    gemm.columns = columns;
    if (round % 3 == 1) gemm.first_column = between(0, columns - 1);
    if (round % 3 == 1) gemm.last_column = between(gemm.first_column + 1, columns);
    gemm.bias = bias.data();
    gemm.activated = true;
    const auto results = [&](const auto& step) {
      std::vector<float> c = residual;  // in place, as a layer adds to its input
      gemm.c = c.data();
      gemm.c_stride = columns;
      gemm.residual = c.data();
      gemm.residual_stride = columns;
      step();
      std::vector<std::byte> narrow(at(rows * columns) * element_bytes(kernels().precision));
      gemm.c = nullptr;
      gemm.residual = nullptr;
      gemm.narrow_c = narrow.data();
      step();
      gemm.narrow_c = nullptr;
      return std::pair(c, narrow);
    };
    const auto alone = results([&] { kernels().gemm(gemm); });
    for (const int threads : {2, 3}) {
      const Team team(threads);
      EXPECT_EQ(results([&] { run(kernels(), gemm); }), alone);
    }
    EXPECT_EQ(results([&] { run(kernels(), gemm); }), alone);
  }
}

TEST_P(SharedStep, AttentionHasTheSameBits) {
  for (int round = 0; round < 12; ++round) {
    const std::int64_t positions = between(20, 120), queries = between(1, positions);
    const std::int64_t heads = between(2, 12), size = between(8, 70), d = heads * size;
    const std::vector<float> query = normal(queries * d), key = normal(positions * d),
                             value = normal(positions * d);
    std::vector<float> scratch(kernels().attention_scratch(positions, size));
    Attention job;
    job.positions = positions;
    job.queries = queries;
    job.heads = heads;
    job.head_size = size;
    job.query = query.data();
    job.query_stride = job.key_value_stride = job.out_stride = d;
    job.key = key.data();
    job.value = value.data();
    const std::size_t bytes = at(queries * d) * element_bytes(kernels().precision);
    std::vector<std::byte> alone(bytes), shared(bytes);
    job.out = alone.data();
    job.scratch = scratch.data();
    kernels().attention(job);
    const Team team(3);
    job.out = shared.data();
    run(kernels(), job);
    EXPECT_EQ(shared, alone);
  }
}

TEST_P(SharedStep, DepthwiseConvolutionsHaveTheSameBits) {
  if (kernels().depthwise == nullptr) GTEST_SKIP() << "nothing is convolved in it";
  for (int round = 0; round < 24; ++round) {
    const std::int64_t depth = round % 3 == 0 ? 0 : between(8, 40), channels = between(20, 200);
    const std::int64_t in = depth == 0 ? channels : depth;
    Depthwise job;
    job.height = between(7, 30);
    job.width = between(7, 30);
    job.depth = in;
    job.channels = channels;
    job.kernel = 3;
    job.stride = between(1, 2);
    job.pad_top = job.pad_left = between(0, 1);
    job.out_height = (job.height + job.stride - 1) / job.stride;
    job.out_width = (job.width + job.stride - 1) / job.stride;
    job.out_stride = channels;
    job.activated = true;
    Operand x(kernels(), normal(job.height * job.width * in));
    const std::vector<float> expand = normal(channels * depth), expand_bias = normal(channels),
                             weights = normal(9 * channels), bias = normal(channels);
    std::vector<std::byte> packed(depth == 0 ? 0 : kernels().packed_bytes(depth, channels));
    if (depth > 0) {
      kernels().pack(expand.data(), depth, channels, packed.data());
      job.expand_weights = packed.data();
      job.expand_bias = expand_bias.data();
    }
    job.x = x.data();
    job.weights = weights.data();
    job.bias = bias.data();
    std::vector<float> scratch(kernels().depthwise_scratch(job));
    const auto results = [&](const auto& step) {
      const std::size_t pixels = at(job.out_height * job.out_width);
      std::vector<std::byte> out(pixels * at(channels) * element_bytes(kernels().precision));
      std::vector<float> means(at(channels));
      job.out = out.data();
      job.means = means.data();
      step();
      return std::pair(out, means);
    };
    job.scratch = scratch.data();
    const auto alone = results([&] { kernels().depthwise(job); });
    job.scratch = nullptr;
    const Team team(3);
    EXPECT_EQ(results([&] { run(kernels(), job); }), alone);
  }
}

TEST_P(SharedStep, PanelsBeginAtTheirEdges) {
  for (std::int64_t columns = 1; columns < 300; ++columns) {
    std::int64_t before = 0;
    for (std::int64_t column = 0; column < columns; ++column) {
      const std::int64_t edge = kernels().panel_edge(columns, column);
      ASSERT_LE(edge, column);
      ASSERT_GE(edge, before);
      ASSERT_EQ(kernels().panel_edge(columns, edge), edge);
      before = edge;
    }
    ASSERT_EQ(kernels().panel_edge(columns, 0), 0);
  }
}

}  // namespace
}  // namespace bifocal::nn::cpu
