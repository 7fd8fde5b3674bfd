#include "exif.h"

#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "encoded_images.h"

namespace bifocal::vision {
namespace {

using testing::Encoded;

TEST(Exif, ReadsBothByteOrdersWithAndWithoutPrefix) {
  for (int orientation = 1; orientation <= 8; ++orientation)
    for (const bool big : {false, true}) {
      const Encoded exif = testing::exif_block(orientation, big);
      EXPECT_EQ(read_orientation(exif), orientation);
      EXPECT_EQ(read_orientation(testing::app1_of(exif)), orientation);
    }
}

TEST(Exif, ValuesOutOfRangeMeanUpright) {
  EXPECT_EQ(read_orientation(testing::exif_block(0)), 1);
  EXPECT_EQ(read_orientation(testing::exif_block(9)), 1);
  EXPECT_EQ(read_orientation({}), 1);
}

TEST(Exif, NoPrefixAndNoDamageReadsOutside) {
  for (const bool big : {false, true}) {
    const Encoded whole = testing::exif_block(6, big);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const Encoded prefix(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      const Orientation read = read_orientation(prefix);
      EXPECT_TRUE(read == 1 || read == 6) << size;
    }
    for (std::size_t at = 0; at < whole.size(); ++at)
      for (const int value : {0, 1, 0x7F, 0xFF}) {
        Encoded damaged = whole;
        damaged[at] = static_cast<std::byte>(value);
        const Orientation read = read_orientation(damaged);
        EXPECT_GE(read, 1);
        EXPECT_LE(read, 8);
      }
  }
}

// Where the pixel at the picture's visual row and column lies in the stored picture: EXIF 2.32's
// words for each value ("the 0th row is at the visual right-hand side...").
std::pair<std::int64_t, std::int64_t> stored_position(Orientation orientation, std::int64_t row,
                                                      std::int64_t column, std::int64_t height,
                                                      std::int64_t width) {
  switch (orientation) {
    case 2:
      return {row, width - 1 - column};
    case 3:
      return {height - 1 - row, width - 1 - column};
    case 4:
      return {height - 1 - row, column};
    case 5:
      return {column, row};
    case 6:
      return {height - 1 - column, row};
    case 7:
      return {height - 1 - column, width - 1 - row};
    case 8:
      return {column, width - 1 - row};
    default:
      return {row, column};
  }
}

TEST(Exif, UprightPutsEveryPixelWhereTheStandardSays) {
  const std::array<std::pair<std::int64_t, std::int64_t>, 5> sizes{
      {{1, 1}, {1, 7}, {5, 1}, {4, 6}, {70, 33}}};
  for (const auto& [width, height] : sizes) {
    const Image stored = testing::rgb_image(width, height);
    for (Orientation orientation = 1; orientation <= 8; ++orientation) {
      const Image shown = upright(stored, orientation);
      ASSERT_EQ(shown.width, orientation >= 5 ? height : width);
      ASSERT_EQ(shown.height, orientation >= 5 ? width : height);
      ASSERT_EQ(shown.pixels.size(), stored.pixels.size());
      for (std::int64_t row = 0; row < shown.height; ++row)
        for (std::int64_t column = 0; column < shown.width; ++column) {
          const auto [y, x] = stored_position(orientation, row, column, height, width);
          for (std::int64_t c = 0; c < 3; ++c)
            ASSERT_EQ(shown.pixels[static_cast<std::size_t>(3 * (row * shown.width + column) + c)],
                      stored.pixels[static_cast<std::size_t>(3 * (y * width + x) + c)])
                << orientation << " at " << row << ", " << column;
        }
    }
  }
}

}  // namespace
}  // namespace bifocal::vision
