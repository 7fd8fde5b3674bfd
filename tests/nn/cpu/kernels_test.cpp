#include "nn/cpu/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "every_kernel.h"
#include "gemm_case.h"
#include "guarded.h"
#include "operand.h"

namespace bifocal::nn::cpu {
namespace {

using testing::Guarded;

INSTANTIATE_TEST_SUITE_P(Cpu, EveryKernel, ::testing::ValuesIn(tables()), name_of);

TEST_P(EveryKernel, ProductsOfEverySizeAgreeWithSumsInDouble) {
  std::vector<std::array<std::int64_t, 3>> sizes;  // rows, depth, columns
  for (std::int64_t tail = 1; tail <= 64; ++tail) {
    sizes.push_back({between(1, 20), tail, between(1, 130)});
    sizes.push_back({between(1, 20), between(1, 70), tail + 48 * between(0, 2)});
    sizes.push_back({tail, between(1, 70), between(1, 70)});
    sizes.push_back({between(65, 130), tail, between(1, 70)});
  }
  for (const auto& [rows, depth, columns] : sizes) {
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(depth) + " x " +
                 std::to_string(columns));
    GemmCase test(kernels(), rows, depth, columns, normal(rows * depth), normal(columns * depth));
    const bool biased = between(0, 1) == 1;
    const bool residual = between(0, 1) == 1;
    const std::int64_t outputs = between(0, 2);  // in floats, narrow, or both
    test.gemm.activated = between(0, 1) == 1;
    test.gemm.activation = static_cast<Activation>(between(0, 4));
    Guarded<float> bias(normal(columns));
    const bool broadcast = between(0, 3) == 0;
    Guarded<float> added(normal(broadcast ? columns : rows * columns));
    Operand narrow(kernels(), std::vector<float>(static_cast<std::size_t>(rows * columns)));
    Guarded<float> out(static_cast<std::size_t>(rows * columns));
    if (biased) test.gemm.bias = bias.data();
    if (residual) test.gemm.residual = added.data();
    test.gemm.residual_stride = broadcast ? 0 : columns;
    if (outputs != 1) test.gemm.c = out.data();
    if (outputs != 0) test.gemm.narrow_c = narrow.data();
    test.gemm.c_stride = columns;
    kernels().gemm(test.gemm);
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t column = 0; column < columns; ++column) {
        const auto [product, size] = test.product(row, column);
        double expected = product + (biased ? bias.data()[column] : 0);
        if (test.gemm.activated) expected = activated(expected, test.gemm.activation);
        const double rough =
            test.gemm.activated ? activation_error(test.gemm.activation, expected) : 0;
        if (residual) expected += added.data()[(broadcast ? 0 : row * columns) + column];
        const auto index = static_cast<std::size_t>(row * columns + column);
        // fp32 sums of `depth` terms; what leaves may be rounded once more.
        const double tolerance = 3e-7 * (size + 2) + 3e-7 + rough;
        if (outputs != 1) {
          ASSERT_NEAR(out.data()[index], expected, tolerance) << row << ", " << column;
        }
        if (outputs != 0) {
          ASSERT_NEAR(narrow.at(index), expected, tolerance + unit() * std::abs(expected))
              << row << ", " << column;
        }
      }
    }
  }
}

TEST_P(EveryKernel, ARowOfAProductHasTheSameBitsWhereverItStands) {
  for (int round = 0; round < 30; ++round) {
    const std::int64_t rows = between(2, 40);
    const std::int64_t depth = between(1, 200);
    const std::int64_t columns = between(1, 150);
    GemmCase test(kernels(), rows, depth, columns, normal(rows * depth), normal(columns * depth));
    std::vector<float> together(static_cast<std::size_t>(rows * columns));
    test.gemm.c = together.data();
    test.gemm.c_stride = columns;
    test.gemm.activated = true;
    kernels().gemm(test.gemm);
    Gemm alone = test.gemm;
    for (std::int64_t row = 0; row < rows; ++row) {
      std::vector<float> out(static_cast<std::size_t>(columns));
      alone.rows = 1;
      alone.a = static_cast<const std::byte*>(test.gemm.a) +
                static_cast<std::size_t>(row * depth) * element_bytes(kernels().precision);
      alone.c = out.data();
      kernels().gemm(alone);
      ASSERT_EQ(
          std::memcmp(out.data(), together.data() + row * columns, out.size() * sizeof(float)), 0);
    }
  }
}

TEST_P(EveryKernel, APartOfTheColumnsIsThatPartOfAll) {
  for (int round = 0; round < 40; ++round) {
    const std::int64_t rows = between(1, 12);
    const std::int64_t depth = between(1, 60);
    const std::int64_t columns = between(2, 400);
    GemmCase test(kernels(), rows, depth, columns, normal(rows * depth), normal(columns * depth));
    std::vector<float> all(static_cast<std::size_t>(rows * columns));
    test.gemm.c = all.data();
    test.gemm.c_stride = columns;
    kernels().gemm(test.gemm);
    std::vector<float> part(all.size(), kNan);
    test.gemm.c = part.data();
    test.gemm.first_column = between(0, columns - 1);
    test.gemm.last_column = between(test.gemm.first_column + 1, columns);
    kernels().gemm(test.gemm);
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t c = test.gemm.first_column; c < test.gemm.last_column; ++c)
        ASSERT_EQ(part[static_cast<std::size_t>(row * columns + c)],
                  all[static_cast<std::size_t>(row * columns + c)]);
  }
}

TEST_P(EveryKernel, WhatIsNotFiniteStaysInItsRow) {
  for (const float poison : {kNan, kInfinity, -kInfinity}) {
    const std::int64_t rows = 11, depth = 37, columns = 70;
    std::vector<float> a = normal(rows * depth);
    a[5 * 37 + 36] = poison;
    GemmCase test(kernels(), rows, depth, columns, a, normal(columns * depth));
    std::vector<float> out(static_cast<std::size_t>(rows * columns));
    test.gemm.c = out.data();
    test.gemm.c_stride = columns;
    kernels().gemm(test.gemm);
    for (std::int64_t i = 0; i < rows * columns; ++i)
      ASSERT_EQ(std::isfinite(out[static_cast<std::size_t>(i)]), i / columns != 5) << i;
  }
}

TEST_P(EveryKernel, ActivationsHoldOverTheWholeLine) {
  std::vector<float> xs = {0.0f,     -0.0f,     1e-45f, -1e-45f, 1e-38f, 1e-20f,
                           -1e-20f,  1e5f,      -1e5f,  1e30f,   -1e30f, 3.3e38f,
                           -3.3e38f, kInfinity, 87.5f,  -87.5f,  200.0f, -200.0f};
  for (int i = -20000; i <= 20000; ++i) xs.push_back(static_cast<float>(i) * 1e-3f);
  const auto rows = static_cast<std::int64_t>(xs.size());
  // A product with one: what is rounded on the way in is what the reference takes.
  GemmCase test(kernels(), rows, 1, 1, xs, {1.0f});
  std::vector<float> out(xs.size());
  test.gemm.c = out.data();
  test.gemm.c_stride = 1;
  test.gemm.activated = true;
  for (int which = 0; which < 5; ++which) {
    test.gemm.activation = static_cast<Activation>(which);
    kernels().gemm(test.gemm);
    for (std::size_t i = 0; i < xs.size(); ++i) {
      const double x = test.product(static_cast<std::int64_t>(i), 0).value;
      const double expected = activated(x, test.gemm.activation);
      if (std::isnan(expected)) {  // of infinity, in integers
        EXPECT_TRUE(std::isnan(out[i])) << which << " of " << x;
      } else if (std::isinf(expected)) {
        EXPECT_EQ(out[i], expected) << which << " of " << x;
      } else {
        ASSERT_NEAR(
            out[i], expected,
            2e-7 + 6e-7 * std::abs(expected) + activation_error(test.gemm.activation, expected))
            << which << " of " << x;
      }
    }
  }
}

TEST_P(EveryKernel, ActivationsPassNanOn) {
  GemmCase test(kernels(), 1, 1, 5, {1.0f}, {1, kNan, 1, 1, kNan});
  std::vector<float> out(5);
  test.gemm.c = out.data();
  test.gemm.c_stride = 5;
  test.gemm.activated = true;
  for (int which = 0; which < 5; ++which) {
    test.gemm.activation = static_cast<Activation>(which);
    kernels().gemm(test.gemm);
    for (std::size_t i = 0; i < 5; ++i)
      EXPECT_EQ(std::isnan(out[i]), i == 1 || i == 4) << which << ", " << i;
  }
}

TEST_P(EveryKernel, NarrowingRoundsToTheNearest) {
  std::vector<float> values = normal(1000, 100);
  for (int i = 0; i < 2000; ++i) {
    auto bits = static_cast<std::uint32_t>(random_());
    // Ties and what stands beside them, which chance hardly ever draws.
    if (i % 2 == 0) bits = (bits & 0xffff0000) + 0x7fff + static_cast<std::uint32_t>(i / 2 % 3);
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    // vcvtneps2bf16 takes denormals for zero.
    if (std::isfinite(value) && std::abs(value) < std::numeric_limits<float>::min()) value = 0;
    values.push_back(value);
  }
  values.insert(values.end(), {kInfinity, -kInfinity, kNan, 0.0f, -0.0f});
  for (std::int64_t size = 1; size < 70; ++size) {
    const auto rows = static_cast<std::int64_t>(values.size()) / size;
    Guarded<float> from(
        std::span<const float>(values).first(static_cast<std::size_t>(rows * size)));
    Operand to(kernels(), std::vector<float>(static_cast<std::size_t>(rows * size)));
    kernels().narrow(from.data(), size, rows, size, to.data(), size);
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows * size); ++i) {
      const float expected = to.narrow ? widened(nearest_bf16(values[i])) : values[i];
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(to.at(i)));
      } else {
        ASSERT_EQ(to.at(i), expected);
      }
    }
  }
}

TEST_P(EveryKernel, LayerNormIsThatOfThePaper) {
  for (std::int64_t size = 1; size <= 140; size += 1 + size / 40) {
    const std::int64_t rows = between(1, 5);
    std::vector<float> values = normal(rows * size, 3);
    for (float& value : values) value += 10;  // a mean that is not small
    Guarded<float> x(values);
    Guarded<float> weight(normal(size));
    Guarded<float> bias(normal(size));
    Guarded<float> out(static_cast<std::size_t>(rows * size));
    Operand narrow(kernels(), std::vector<float>(static_cast<std::size_t>(rows * size)));
    LayerNorm job;
    job.rows = rows;
    job.size = size;
    job.x = x.data();
    job.x_stride = size;
    job.weight = weight.data();
    job.bias = bias.data();
    job.eps = 1e-5;
    job.out = out.data();
    job.out_stride = size;
    job.narrow_out = narrow.data();
    job.narrow_stride = size;
    kernels().layer_norm(job);
    for (std::int64_t row = 0; row < rows; ++row) {
      const float* from = values.data() + row * size;
      double mean = 0, variance = 0;
      for (std::int64_t i = 0; i < size; ++i) mean += from[i] / static_cast<double>(size);
      for (std::int64_t i = 0; i < size; ++i)
        variance += (from[i] - mean) * (from[i] - mean) / static_cast<double>(size);
      for (std::int64_t i = 0; i < size; ++i) {
        const double expected =
            (from[i] - mean) / std::sqrt(variance + 1e-5) * weight.data()[i] + bias.data()[i];
        const auto index = static_cast<std::size_t>(row * size + i);
        // A variance of nothing but the mean's own rounding is 1e-12 under an eps of 1e-5.
        ASSERT_NEAR(out.data()[index], expected, size == 1 ? 1e-2 : 2e-5) << size;
        ASSERT_NEAR(narrow.at(index), out.data()[index],
                    unit() * std::abs(out.data()[index]) + 1e-9);
      }
    }
  }
}

struct AttentionCase {
  std::int64_t positions, queries, heads, head_size;
};

TEST_P(EveryKernel, AttentionIsThatOfThePaper) {
  std::vector<AttentionCase> cases = {{1, 1, 1, 1},    {128, 128, 2, 32}, {64, 64, 1, 64},
                                      {33, 33, 1, 96}, {70, 1, 8, 32},    {512, 9, 1, 32}};
  for (int i = 0; i < 40; ++i) cases.push_back({between(1, 90), 0, between(1, 4), between(1, 100)});
  for (AttentionCase& each : cases) {
    if (each.queries == 0) each.queries = between(1, each.positions);
    const auto& [positions, queries, heads, head_size] = each;
    SCOPED_TRACE(std::to_string(positions) + " positions, " + std::to_string(queries) +
                 " queries, " + std::to_string(heads) + " heads of " + std::to_string(head_size));
    const std::int64_t d = heads * head_size;
    std::vector<float> query = normal(queries * d, 2);
    std::vector<float> key = normal(positions * d, 2);
    std::vector<float> value = normal(positions * d);
    Guarded<float> guarded_query(query), guarded_key(key), guarded_value(value);
    // What is rounded on the way in is what the reference takes.
    for (std::vector<float>* values : {&query, &key, &value})
      *values = Operand(kernels(), *values).values;
    Guarded<float> scratch(kernels().attention_scratch(positions, head_size));
    Operand out(kernels(), std::vector<float>(static_cast<std::size_t>(queries * d)));
    Attention job;
    job.positions = positions;
    job.queries = queries;
    job.heads = heads;
    job.head_size = head_size;
    job.query = guarded_query.data();
    job.query_stride = d;
    job.key = guarded_key.data();
    job.value = guarded_value.data();
    job.key_value_stride = d;
    job.out = out.data();
    job.out_stride = d;
    job.scratch = scratch.data();
    kernels().attention(job);
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t q = 0; q < queries; ++q) {
        std::vector<double> weights(static_cast<std::size_t>(positions));
        double highest = -1e300, total = 0;
        for (std::int64_t k = 0; k < positions; ++k) {
          double score = 0;
          for (std::int64_t i = 0; i < head_size; ++i)
            score +=
                static_cast<double>(query[static_cast<std::size_t>(q * d + head * head_size + i)]) *
                key[static_cast<std::size_t>(k * d + head * head_size + i)];
          weights[static_cast<std::size_t>(k)] = score / std::sqrt(static_cast<double>(head_size));
          highest = std::max(highest, weights[static_cast<std::size_t>(k)]);
        }
        for (double& weight : weights) total += weight = std::exp(weight - highest);
        for (std::int64_t i = 0; i < head_size; ++i) {
          double expected = 0, size = 0;
          for (std::int64_t k = 0; k < positions; ++k) {
            const double term = weights[static_cast<std::size_t>(k)] / total *
                                value[static_cast<std::size_t>(k * d + head * head_size + i)];
            expected += term;
            size += std::abs(term);
          }
          const float found = out.at(static_cast<std::size_t>(q * d + head * head_size + i));
          // Weights are rounded before they multiply, and so is what leaves.
          ASSERT_NEAR(found, expected,
                      2e-5 + (out.narrow ? unit() * (size + std::abs(expected)) : 0))
              << "head " << head << ", query " << q << ", channel " << i;
        }
      }
    }
  }
}

TEST_P(EveryKernel, AttentionPassesNanOnAndIgnoresWhatIsInfinitelyFar) {
  const std::int64_t positions = 21, size = 8;
  std::vector<float> query = normal(size), value = normal(positions * size);
  std::vector<float> key = normal(positions * size);
  query[0] = 1;
  key[7 * size] = -kInfinity;  // position 7 has weight 0
  Operand out(kernels(), std::vector<float>(static_cast<std::size_t>(size)));
  std::vector<float> scratch(kernels().attention_scratch(positions, size));
  Attention job;
  job.positions = positions;
  job.queries = 1;
  job.heads = 1;
  job.head_size = size;
  job.query = query.data();
  job.query_stride = size;
  job.key = key.data();
  job.value = value.data();
  job.key_value_stride = size;
  job.out = out.data();
  job.out_stride = size;
  job.scratch = scratch.data();
  kernels().attention(job);
  std::vector<float> before;
  for (std::size_t i = 0; i < 8; ++i) before.push_back(out.at(i));
  for (std::int64_t i = 0; i < size; ++i) value[static_cast<std::size_t>(7 * size + i)] = 100;
  kernels().attention(job);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(out.at(i), before[i]);
  for (const std::size_t poisoned : {0u, 20u}) {
    std::vector<float> with_nan = key;
    with_nan[poisoned * 8] = kNan;
    job.key = with_nan.data();
    kernels().attention(job);
    for (std::size_t i = 0; i < 8; ++i) EXPECT_TRUE(std::isnan(out.at(i)));
  }
}

TEST_P(EveryKernel, SumsOfThreeAreTheSums) {
  for (std::int64_t size = 1; size < 70; ++size) {
    Guarded<float> a(normal(size)), b(normal(size)), c(normal(size));
    Guarded<float> out(static_cast<std::size_t>(size));
    kernels().sum_of_three(a.data(), b.data(), c.data(), size, out.data());
    for (std::int64_t i = 0; i < size; ++i)
      ASSERT_EQ(out.data()[i], a.data()[i] + b.data()[i] + c.data()[i]);
  }
}

}  // namespace
}  // namespace bifocal::nn::cpu
