#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "every_kernel.h"
#include "guarded.h"
#include "operand.h"

namespace bifocal::nn::cpu {
namespace {

using testing::Guarded;

struct Shape {
  std::int64_t height = 1, width = 1;
  std::int64_t depth = 0;  // 0: nothing is expanded
  std::int64_t channels = 1, kernel = 3, stride = 1;
};

std::string title(const Shape& shape) {
  return std::to_string(shape.height) + " x " + std::to_string(shape.width) + " x " +
         std::to_string(shape.depth) + " -> " + std::to_string(shape.channels) + ", kernel " +
         std::to_string(shape.kernel) + ", stride " + std::to_string(shape.stride);
}

// A map, what it is expanded with and convolved with, in guarded memory.
class DepthwiseCase {
 public:
  DepthwiseCase(const Kernels& kernels, const Shape& shape, std::int64_t pad_top,
                std::int64_t pad_left, const std::function<std::vector<float>(std::int64_t)>& draw)
      : kernels_(kernels),
        x(kernels, draw(shape.height * shape.width * in_channels(shape))),
        expand(draw(shape.channels * shape.depth)),
        expand_bias(draw(shape.depth == 0 ? 0 : shape.channels)),
        weights(draw(shape.kernel * shape.kernel * shape.channels)),
        bias(draw(shape.channels)),
        guarded_expand_bias_(expand_bias),
        guarded_weights_(weights),
        guarded_bias_(bias),
        packed_(shape.depth == 0 ? 0 : kernels.packed_bytes(shape.depth, shape.channels)) {
    job.x = x.data();
    job.height = shape.height;
    job.width = shape.width;
    job.depth = in_channels(shape);
    if (shape.depth > 0) {
      Guarded<float> source(expand);
      kernels.pack(source.data(), shape.depth, shape.channels, packed_.data());
      expand = Operand(kernels, expand).values;  // as they are after rounding
      job.expand_weights = packed_.data();
      job.expand_bias = guarded_expand_bias_.data();
    }
    job.channels = shape.channels;
    job.kernel = shape.kernel;
    job.stride = shape.stride;
    job.pad_top = pad_top;
    job.pad_left = pad_left;
    job.weights = guarded_weights_.data();
    job.bias = guarded_bias_.data();
    job.out_height = (shape.height + shape.stride - 1) / shape.stride;
    job.out_width = (shape.width + shape.stride - 1) / shape.stride;
    job.out_stride = shape.channels;
  }

  struct Result {
    std::vector<float> out, means;
  };
  Result run() {
    const auto pixels = static_cast<std::size_t>(job.out_height * job.out_width);
    const auto channels = static_cast<std::size_t>(job.channels);
    Operand out(kernels_, std::vector<float>(pixels * channels));
    Guarded<float> means(channels);
    Guarded<float> scratch(kernels_.depthwise_scratch(job));
    job.out = out.data();
    job.means = means.data();
    job.scratch = scratch.data();
    kernels_.depthwise(job);
    Result result{std::vector<float>(pixels * channels),
                  {means.span().begin(), means.span().end()}};
    for (std::size_t i = 0; i < result.out.size(); ++i) result.out[i] = out.at(i);
    return result;
  }

  // A number and how large what it is a sum of is.
  struct Sum {
    double value = 0, size = 0;
    void add(double term, double term_size) {
      value += term;
      size += term_size;
    }
    void activate(const Depthwise& job) {
      if (job.activated) value = activated(value, job.activation);
    }
  };
  Sum expanded(std::int64_t pixel, std::int64_t channel) const {
    Sum sum;
    if (expand.empty()) {
      const double value = x.values[at(pixel * job.depth + channel)];
      sum.add(value, std::abs(value));
      return sum;
    }
    sum.add(expand_bias[at(channel)], std::abs(expand_bias[at(channel)]));
    for (std::int64_t k = 0; k < job.depth; ++k) {
      const double term = static_cast<double>(x.values[at(pixel * job.depth + k)]) *
                          static_cast<double>(expand[at(channel * job.depth + k)]);
      sum.add(term, std::abs(term));
    }
    sum.activate(job);
    return sum;
  }
  Sum output(std::int64_t out_y, std::int64_t out_x, std::int64_t channel) const {
    Sum sum;
    sum.add(bias[at(channel)], std::abs(bias[at(channel)]));
    for (std::int64_t ky = 0; ky < job.kernel; ++ky)
      for (std::int64_t kx = 0; kx < job.kernel; ++kx) {
        const std::int64_t in_y = out_y * job.stride - job.pad_top + ky;
        const std::int64_t in_x = out_x * job.stride - job.pad_left + kx;
        if (in_y < 0 || in_y >= job.height || in_x < 0 || in_x >= job.width) continue;
        const double w = weights[at((ky * job.kernel + kx) * job.channels + channel)];
        const Sum in = expanded(in_y * job.width + in_x, channel);
        sum.add(in.value * w, (in.size + 1) * std::abs(w));
      }
    sum.activate(job);
    return sum;
  }
  bool sees(std::int64_t out_y, std::int64_t out_x, std::int64_t in_y, std::int64_t in_x) const {
    const std::int64_t ky = in_y - out_y * job.stride + job.pad_top;
    const std::int64_t kx = in_x - out_x * job.stride + job.pad_left;
    return ky >= 0 && ky < job.kernel && kx >= 0 && kx < job.kernel;
  }

  static std::int64_t in_channels(const Shape& shape) {
    return shape.depth == 0 ? shape.channels : shape.depth;
  }
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

 private:
  const Kernels& kernels_;

 public:
  Operand x;
  std::vector<float> expand, expand_bias, weights, bias;
  Depthwise job;

 private:
  Guarded<float> guarded_expand_bias_, guarded_weights_, guarded_bias_;
  Guarded<std::byte> packed_;
};

class DepthwiseKernel : public EveryKernel {
 protected:
  std::unique_ptr<DepthwiseCase> draw(const Shape& shape) {
    auto drawn = std::make_unique<DepthwiseCase>(kernels(), shape, between(0, shape.kernel - 1),
                                                 between(0, shape.kernel - 1),
                                                 [&](std::int64_t count) { return normal(count); });
    drawn->job.activated = between(0, 3) > 0;
    drawn->job.activation = between(0, 1) == 0 ? Activation::kSilu : Activation::kRelu6;
    return drawn;
  }
  Shape random_shape(std::int64_t channels) {
    Shape shape{between(1, 12), between(1, 21), between(0, 2) == 0 ? 0 : between(1, 40), channels};
    shape.kernel = 2 * between(0, 3) + 1;
    shape.stride = std::min(shape.kernel, between(1, 3));
    return shape;
  }
};

std::vector<const Kernels*> convolving_tables() {
  std::vector<const Kernels*> all = tables();
  std::erase_if(all, [](const Kernels* kernels) { return kernels->depthwise == nullptr; });
  return all;
}
INSTANTIATE_TEST_SUITE_P(Cpu, DepthwiseKernel, ::testing::ValuesIn(convolving_tables()), name_of);

TEST_P(DepthwiseKernel, MapsOfEveryShapeAgreeWithSumsInDouble) {
  for (std::int64_t channels = 1; channels <= 112; ++channels) {
    const Shape shape = random_shape(channels);
    SCOPED_TRACE(title(shape));
    const auto drawn = draw(shape);
    DepthwiseCase& test = *drawn;
    const DepthwiseCase::Result found = test.run();
    const Depthwise& job = test.job;
    const double exactness = 5e-7 + 2 * activation_unit();  // of two in a row
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      DepthwiseCase::Sum total;
      for (std::int64_t y = 0; y < job.out_height; ++y)
        for (std::int64_t x = 0; x < job.out_width; ++x) {
          const auto [expected, size] = test.output(y, x, channel);
          const auto index = test.at((y * job.out_width + x) * channels + channel);
          const double rounding = test.x.narrow ? unit() * std::abs(expected) : 0;
          ASSERT_NEAR(found.out[index], expected, exactness * (size + 2) + rounding)
              << y << ", " << x << ", channel " << channel;
          total.add(expected, size);
        }
      const auto count = static_cast<double>(job.out_height * job.out_width);
      ASSERT_NEAR(found.means[test.at(channel)], total.value / count,
                  exactness * (total.size / count + 2));
    }
  }
}

TEST_P(DepthwiseKernel, WhatIsNotFiniteReachesThePixelsThatSeeItAndNoOthers) {
  for (const float poison : {kNan, kInfinity, -kInfinity}) {
    for (const std::int64_t depth : {0, 5}) {
      const Shape shape{9, 13, depth, 21, 3, between(1, 2)};
      const auto drawn = draw(shape);
      DepthwiseCase& test = *drawn;
      test.job.activated = false;
      const DepthwiseCase::Result clean = test.run();
      const std::int64_t y = between(0, 8), x = between(0, 12);
      for (std::int64_t c = 0; c < test.job.depth; ++c)
        test.x.set(test.at((y * shape.width + x) * test.job.depth + c), poison);
      const DepthwiseCase::Result found = test.run();
      for (std::int64_t out_y = 0; out_y < test.job.out_height; ++out_y)
        for (std::int64_t out_x = 0; out_x < test.job.out_width; ++out_x)
          for (std::int64_t c = 0; c < shape.channels; ++c) {
            const auto index = test.at((out_y * test.job.out_width + out_x) * shape.channels + c);
            if (test.sees(out_y, out_x, y, x)) {
              ASSERT_FALSE(std::isfinite(found.out[index]));
            } else {
              ASSERT_EQ(found.out[index], clean.out[index]);
            }
          }
    }
  }
}

TEST_P(DepthwiseKernel, ActivationsPassNanOn) {
  for (const Activation activation : {Activation::kSilu, Activation::kRelu6}) {
    const auto drawn = draw({5, 5, 4, 19, 3, 1});
    DepthwiseCase& test = *drawn;
    test.job.activated = true;
    test.job.activation = activation;
    test.x.set(0, kNan);
    const DepthwiseCase::Result found = test.run();
    for (std::int64_t c = 0; c < 19; ++c) {
      EXPECT_EQ(std::isnan(found.out[test.at(c)]), test.sees(0, 0, 0, 0));
      EXPECT_TRUE(std::isnan(found.means[test.at(c)]));
    }
  }
}

TEST_P(DepthwiseKernel, MeansOfColumnsAreTheMeans) {
  for (std::int64_t size = 1; size < 70; ++size) {
    const std::int64_t rows = between(1, 400);
    const std::vector<float> values = normal(rows * size);
    Guarded<float> x(values), means(static_cast<std::size_t>(size));
    const auto agree = [&](const std::vector<float>& of) {
      for (std::int64_t i = 0; i < size; ++i) {
        double sum = 0;
        for (std::int64_t row = 0; row < rows; ++row)
          sum += of[static_cast<std::size_t>(row * size + i)];
        ASSERT_NEAR(means.data()[i], sum / static_cast<double>(rows), 5e-7);
      }
    };
    kernels().column_means(x.data(), size, rows, size, means.data());
    agree(values);
    Operand operand(kernels(), values);
    kernels().operand_means(operand.data(), size, rows, size, means.data());
    agree(operand.values);
  }
}

TEST_P(DepthwiseKernel, ColumnsAreScaledInPlace) {
  for (std::int64_t size = 1; size < 70; ++size) {
    const std::int64_t rows = between(1, 5);
    Operand x(kernels(), normal(rows * size));
    const std::vector<float> before = x.values;
    Guarded<float> factors(normal(size));
    kernels().scale_columns(x.data(), size, rows, size, factors.data());
    for (std::size_t i = 0; i < before.size(); ++i) {
      const float scaled = before[i] * factors.data()[i % static_cast<std::size_t>(size)];
      ASSERT_EQ(x.at(i), x.narrow ? widened(nearest_bf16(scaled)) : scaled);
    }
  }
}

TEST_P(DepthwiseKernel, SigmoidsHoldOverTheWholeLine) {
  std::vector<float> xs = {0.0f,   -0.0f,  1e-45f,  -1e-45f, 1e-20f,   -1e-20f,   87.5f,
                           -87.5f, 200.0f, -200.0f, 3.3e38f, -3.3e38f, kInfinity, -kInfinity};
  for (int i = -2000; i <= 2000; ++i) xs.push_back(static_cast<float>(i) * 1e-2f);
  for (std::size_t size = 1; size < 40; ++size) {
    Guarded<float> some(std::span<const float>(xs).first(size));
    kernels().sigmoid(some.data(), static_cast<std::int64_t>(size));
  }
  std::vector<float> found = xs;
  found.push_back(kNan);
  kernels().sigmoid(found.data(), static_cast<std::int64_t>(found.size()));
  for (std::size_t i = 0; i < xs.size(); ++i)
    ASSERT_NEAR(found[i], 1 / (1 + std::exp(-static_cast<double>(xs[i]))), 3e-7 + activation_unit())
        << xs[i];
  EXPECT_TRUE(std::isnan(found.back()));
}

}  // namespace
}  // namespace bifocal::nn::cpu
