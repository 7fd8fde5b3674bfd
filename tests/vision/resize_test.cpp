#include "vision/resize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <utility>

#include "bifocal/error.h"
#include "encoded_images.h"
#include "resize_region.h"

namespace bifocal::vision {
namespace {

constexpr std::array kAll{Interpolation::kNearest, Interpolation::kBilinear,
                          Interpolation::kBicubic};
constexpr std::array kFiltered{Interpolation::kBilinear, Interpolation::kBicubic};

TEST(Resize, KeepsAFlatColourAtAnySize) {
  for (const Interpolation interpolation : kAll)
    for (const auto& [from, to] : {std::pair{std::pair{1, 1}, std::pair{300, 200}},
                                   {{500, 3}, {1, 1}},
                                   {{1, 900}, {70, 2}},
                                   {{3, 3}, {3, 3}},
                                   {{13, 7}, {5'000, 1}}}) {
      Image image{from.first, from.second, {}};
      for (int i = 0; i < from.first * from.second; ++i)
        image.pixels.insert(image.pixels.end(), {0, 131, 255});
      const Image out = resize(image, to.first, to.second, interpolation);
      ASSERT_EQ(out.pixels.size(), static_cast<std::size_t>(3 * to.first * to.second));
      for (std::size_t i = 0; i < out.pixels.size(); i += 3) {
        ASSERT_EQ(out.pixels[i], 0);
        ASSERT_EQ(out.pixels[i + 1], 131);
        ASSERT_EQ(out.pixels[i + 2], 255);
      }
    }
}

TEST(Resize, ToTheSameSizeChangesNothing) {
  const Image image = testing::rgb_image(23, 31);
  for (const Interpolation interpolation : kAll)
    EXPECT_EQ(resize(image, 23, 31, interpolation).pixels, image.pixels);
}

TEST(Resize, AgreesWithTheFilterWorkedOutInFloatingPoint) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 40; ++trial) {
    const auto in = static_cast<std::int64_t>(1 + random() % 60);
    const auto out = static_cast<std::int64_t>(1 + random() % 60);
    const Image image = testing::rgb_image(in, 1, static_cast<std::uint32_t>(trial));
    for (const Interpolation interpolation : kFiltered) {
      const bool is_cubic = interpolation == Interpolation::kBicubic;
      const Image resized = resize(image, out, 1, interpolation);
      const double scale = static_cast<double>(in) / static_cast<double>(out);
      const double wide = std::max(scale, 1.0);
      for (std::int64_t x = 0; x < out; ++x) {
        double sum = 0, weights = 0;
        for (std::int64_t i = 0; i < in; ++i) {
          const double t = std::abs(
              (static_cast<double>(i) + 0.5 - (static_cast<double>(x) + 0.5) * scale) / wide);
          double weight = std::max(0.0, 1 - t);
          if (is_cubic)
            weight = t < 1   ? 1.5 * t * t * t - 2.5 * t * t + 1
                     : t < 2 ? -0.5 * t * t * t + 2.5 * t * t - 4 * t + 2
                             : 0;
          sum += weight * image.pixels[static_cast<std::size_t>(3 * i)];
          weights += weight;
        }
        EXPECT_NEAR(resized.pixels[static_cast<std::size_t>(3 * x)],
                    std::clamp(sum / weights, 0.0, 255.0), 0.51)
            << in << " to " << out << " at " << x;
      }
    }
  }
}

TEST(Resize, ARegionIsThatPartOfTheWhole) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 60; ++trial) {
    const auto side = [&](unsigned most) { return static_cast<std::int64_t>(1 + random() % most); };
    const Image image = testing::rgb_image(side(80), side(80), static_cast<std::uint32_t>(trial));
    const std::int64_t width = side(120), height = side(120);
    const auto section = [&](std::int64_t size) {
      const std::int64_t first = side(static_cast<unsigned>(size)) - 1;
      return Section{first, side(static_cast<unsigned>(size - first))};
    };
    const Section columns = section(width), rows = section(height);
    for (const Interpolation interpolation : kAll) {
      const Image whole = resize(image, width, height, interpolation);
      const Image part = resize_region(image, width, height, interpolation, columns, rows);
      ASSERT_EQ(part.width, columns.count);
      ASSERT_EQ(part.height, rows.count);
      for (std::int64_t y = 0; y < rows.count; ++y)
        ASSERT_TRUE(
            std::equal(part.pixels.begin() + 3 * y * columns.count,
                       part.pixels.begin() + 3 * (y + 1) * columns.count,
                       whole.pixels.begin() + 3 * ((rows.first + y) * width + columns.first)));
    }
  }
}

TEST(Resize, RefusesEmptySizes) {
  const Image image = testing::rgb_image(4, 4);
  EXPECT_THROW(resize(image, 0, 4, Interpolation::kBicubic), Error);
  EXPECT_THROW(resize(image, 4, -1, Interpolation::kBilinear), Error);
  EXPECT_THROW(resize(Image{}, 4, 4, Interpolation::kBilinear), Error);
}

}  // namespace
}  // namespace bifocal::vision
