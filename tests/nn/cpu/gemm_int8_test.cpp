// What products of 8-bit integers promise beside what those of every table do.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "every_kernel.h"
#include "gemm_case.h"
#include "guarded.h"

namespace bifocal::nn::cpu {
namespace {

using testing::Guarded;

class Int8Kernel : public EveryKernel {
 protected:
  // C of a product without anything beside it: [rows, columns]
  std::vector<float> multiply(Gemm gemm, const Kernels& kernels) {
    std::vector<float> out(static_cast<std::size_t>(gemm.rows * gemm.columns), kNan);
    gemm.c = out.data();
    gemm.c_stride = gemm.columns;
    kernels.gemm(gemm);
    return out;
  }
  std::vector<float> multiply(const Gemm& gemm) { return multiply(gemm, kernels()); }
};

INSTANTIATE_TEST_SUITE_P(Cpu, Int8Kernel, ::testing::ValuesIn(all_kernels(Precision::kInt8)),
                         name_of);

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_P(Int8Kernel, EveryTableGivesTheSameBits) {
  const Kernels& portable = *all_kernels(Precision::kInt8).back();
  for (int round = 0; round < 60; ++round) {
    const std::int64_t rows = between(1, 40), columns = between(1, 150);
    const std::int64_t depth = round % 10 == 0 ? between(8000, 17000) : between(1, 600);
    const std::vector<float> a = normal(rows * depth, 3), weight = normal(columns * depth);
    const GemmCase own(kernels(), rows, depth, columns, a, weight);
    const GemmCase plain(portable, rows, depth, columns, a, weight);
    ASSERT_TRUE(same_bits(multiply(own.gemm), multiply(plain.gemm, portable)))
        << rows << " x " << depth << " x " << columns;
  }
}

// Sums of more terms than 32 bits hold, and all of one sign, which is where they would not.
TEST_P(Int8Kernel, DeepProductsAgreeWithSumsInDouble) {
  for (const std::int64_t depth : {4096, 8191, 8192, 8193, 16384, 70000}) {
    const std::int64_t rows = between(1, 10), columns = between(1, 60);
    std::vector<float> a = normal(rows * depth), weight = normal(columns * depth);
    for (std::size_t i = 0; i < a.size(); i += 2) a[i] = 3;
    for (std::size_t i = 0; i < weight.size(); i += 2) weight[i] = 3;
    const GemmCase test(kernels(), rows, depth, columns, a, weight);
    const std::vector<float> out = multiply(test.gemm);
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t column = 0; column < columns; ++column) {
        const auto [expected, size] = test.product(row, column);
        ASSERT_NEAR(out[static_cast<std::size_t>(row * columns + column)], expected, 3e-7 * size)
            << depth;
      }
  }
}

TEST_P(Int8Kernel, ManyRowsAreWhatTheyAreAlone) {
  const std::int64_t rows = 300, depth = 1000, columns = 70;
  const GemmCase test(kernels(), rows, depth, columns, normal(rows * depth),
                      normal(columns * depth));
  const std::vector<float> together = multiply(test.gemm);
  Gemm alone = test.gemm;
  alone.rows = 1;
  for (std::int64_t row = 0; row < rows; ++row) {
    alone.a = static_cast<const float*>(test.gemm.a) + row * depth;
    const auto* first = together.data() + row * columns;
    ASSERT_TRUE(same_bits(multiply(alone), std::vector<float>(first, first + columns))) << row;
  }
}

TEST_P(Int8Kernel, RowsMayOverlap) {
  const std::int64_t rows = 21, depth = 50, columns = 40, stride = 7;
  const std::vector<float> line = normal((rows - 1) * stride + depth);
  std::vector<float> apart;
  for (std::int64_t row = 0; row < rows; ++row)
    apart.insert(apart.end(), line.begin() + row * stride, line.begin() + row * stride + depth);
  const GemmCase test(kernels(), rows, depth, columns, apart, normal(columns * depth));
  Guarded<float> overlapping(line);
  Gemm gemm = test.gemm;
  gemm.a = overlapping.data();
  gemm.a_stride = stride;
  EXPECT_TRUE(same_bits(multiply(gemm), multiply(test.gemm)));
}

// Half a step of either operand a term is all that rounding costs.
TEST_P(Int8Kernel, RoundingCostsNoMoreThanHalfAStep) {
  for (int round = 0; round < 20; ++round) {
    const std::int64_t rows = between(1, 12), depth = between(1, 300), columns = between(1, 80);
    const std::vector<float> a = normal(rows * depth), weight = normal(columns * depth);
    const GemmCase test(kernels(), rows, depth, columns, a, weight);
    const std::vector<float> out = multiply(test.gemm);
    const auto half_step = [&](const float* x) {
      double most = 0;
      for (std::int64_t k = 0; k < depth; ++k) most = std::max<double>(most, std::abs(x[k]));
      return most / 254;
    };
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t column = 0; column < columns; ++column) {
        const float* x = a.data() + row * depth;
        const float* w = weight.data() + column * depth;
        const double of_x = half_step(x), of_w = half_step(w);
        double exact = 0, bound = 1e-5;
        for (std::int64_t k = 0; k < depth; ++k) {
          exact += static_cast<double>(x[k]) * w[k];
          bound += std::abs(x[k]) * of_w + std::abs(w[k]) * of_x + of_x * of_w;
        }
        ASSERT_NEAR(out[static_cast<std::size_t>(row * columns + column)], exact, bound);
      }
  }
}

TEST_P(Int8Kernel, ARowOfZerosGivesTheBias) {
  const std::int64_t rows = 9, depth = 45, columns = 50;
  std::vector<float> a = normal(rows * depth);
  std::fill_n(a.begin() + 4 * depth, depth, 0.0f);
  std::fill_n(a.begin() + 7 * depth, depth, -1e-40f);
  GemmCase test(kernels(), rows, depth, columns, a, normal(columns * depth));
  Guarded<float> bias(normal(columns));
  test.gemm.bias = bias.data();
  const std::vector<float> out = multiply(test.gemm);
  for (const std::int64_t row : {4, 7})
    for (std::int64_t i = 0; i < columns; ++i)
      EXPECT_EQ(out[static_cast<std::size_t>(row * columns + i)], bias.data()[i]);
}

TEST_P(Int8Kernel, AColumnOfZerosGivesZeros) {
  const std::int64_t rows = 5, depth = 45, columns = 50;
  std::vector<float> weight = normal(columns * depth);
  std::fill_n(weight.begin() + 17 * depth, depth, 0.0f);
  const GemmCase test(kernels(), rows, depth, columns, normal(rows * depth), weight);
  const std::vector<float> out = multiply(test.gemm);
  for (std::int64_t i = 0; i < rows * columns; ++i)
    EXPECT_EQ(out[static_cast<std::size_t>(i)] == 0, i % columns == 17) << i;
}

TEST_P(Int8Kernel, WhatIsNotFiniteIsPassedOnFromAnyPlace) {
  const std::int64_t rows = 3, columns = 20;
  for (const float poison : {kNan, -kNan, kInfinity, -kInfinity})
    for (const std::int64_t depth : {1, 4, 15, 16, 17, 67, 8200})
      for (const std::int64_t place : {std::int64_t{0}, depth / 2, depth - 1}) {
        std::vector<float> a = normal(rows * depth), weight = normal(columns * depth);
        a[static_cast<std::size_t>(depth + place)] = poison;
        weight[static_cast<std::size_t>(7 * depth + place)] = poison;
        const GemmCase test(kernels(), rows, depth, columns, a, weight);
        const std::vector<float> out = multiply(test.gemm);
        for (std::int64_t i = 0; i < rows * columns; ++i)
          ASSERT_EQ(std::isfinite(out[static_cast<std::size_t>(i)]),
                    i / columns != 1 && i % columns != 7)
              << poison << " at " << place << " of " << depth << ": " << i;
      }
}

}  // namespace
}  // namespace bifocal::nn::cpu
