#include "training/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace bifocal::training {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Chart, TheUsersWordsAreText) {
  EXPECT_EQ(escape_html("<b a=\"1\">&'"), "&lt;b a=&quot;1&quot;&gt;&amp;'");
  const std::string svg =
      line_chart("<loss>", "a & b", {{"<one>", {{0, 1}, {1, 2}}}, {"two", {{0, 2}}}});
  EXPECT_THAT(svg, HasSubstr("&lt;loss&gt;"));
  EXPECT_THAT(svg, HasSubstr("&lt;one&gt;"));
  EXPECT_THAT(svg, Not(HasSubstr("<one>")));
}

TEST(Chart, ACurveGoesFromCornerToCorner) {
  const std::string svg = line_chart("loss", "epoch", {{"train", {{0, 0}, {10, 5}}}});
  EXPECT_THAT(svg, HasSubstr("points=\"56.0,220.0 508.0,28.0 \""));
}

TEST(Chart, NothingAndInfinityAreDrawnToo) {
  EXPECT_THAT(line_chart("loss", "epoch", {}), HasSubstr("nothing yet"));
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  const std::string svg = line_chart("loss", "epoch", {{"train", {{0, 1}, {1, kNaN}, {2, 1}}}});
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(Chart, AReliabilityDiagramHasABarForEachBinWithItems) {
  const std::string svg = reliability_diagram("before", {{}, {12, 0.4, 0.5}, {3, 0.8, 1}});
  std::size_t bars = 0;
  for (auto at = svg.find("class=\"bar\""); at != std::string::npos;
       at = svg.find("class=\"bar\"", at + 1))
    ++bars;
  EXPECT_EQ(bars, 2u);
  EXPECT_THAT(svg, HasSubstr("12 items"));
}

}  // namespace
}  // namespace bifocal::training
