#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "bifocal/error.h"
#include "training/evaluation/binary.h"
#include "training/evaluation/bootstrap.h"
#include "training/evaluation/classes.h"
#include "training/evaluation/retrieval.h"
#include "training/random.h"

namespace bifocal::training {
namespace {

double mean(std::span<const double> values, std::span<const std::size_t> drawn) {
  double sum = 0;
  for (const std::size_t i : drawn) sum += values[i];
  return sum / static_cast<double>(drawn.size());
}

// Of many samples of a known distribution, the interval holds its mean about as often as it says.
TEST(Bootstrap, CoversTheTruth) {
  int covered = 0;
  for (std::uint64_t sample = 0; sample < 200; ++sample) {
    Random random(7, sample);
    std::vector<double> values(60);
    for (double& value : values) value = random.uniform() < 0.3 ? 1 : 0;
    const Estimate estimate =
        bootstrap(values.size(), [&](auto drawn) { return mean(values, drawn); },
                  {.resamples = 300, .level = 0.9});
    EXPECT_LE(estimate.low, estimate.value);
    EXPECT_GE(estimate.high, estimate.value);
    covered += estimate.low <= 0.3 && 0.3 <= estimate.high ? 1 : 0;
  }
  EXPECT_NEAR(covered, 180, 16);
}

TEST(Bootstrap, TurnsOnItsSeedAlone) {
  const std::vector<double> values{1.37, 5.21, 2.9, 8.13, 3.77, 3.02, 9.91};
  const auto of_seed = [&](std::uint64_t seed) {
    return bootstrap(7, [&](auto drawn) { return mean(values, drawn); }, {.seed = seed}).low;
  };
  EXPECT_EQ(of_seed(1), of_seed(1));
  EXPECT_NE(of_seed(1), of_seed(2));
  EXPECT_TRUE(std::isnan(bootstrap(0, [](auto) { return 1.0; }).value));
}

TEST(PairedDifference, KnowsThatClustersAreNotIndependent) {
  const std::vector<double> first{1, 1, 0, 0, 1, 1}, second{0, 0, 0, 0, 0, 1};
  const auto apart = paired_difference(first, second, std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
  EXPECT_DOUBLE_EQ(apart.mean, 0.5);
  // The usual standard error of a mean: deviation of {1, 1, 0, 0, 1, 0} over the root of six.
  EXPECT_NEAR(apart.standard_error, std::sqrt(0.3 / 6), 1e-12);
  const auto together =
      paired_difference(first, second, std::vector<std::size_t>{0, 0, 1, 1, 2, 2});
  EXPECT_GT(together.standard_error, apart.standard_error);
}

TEST(Retrieval, FiguresOfKnownRanks) {
  // Two images with two captions each.
  const RetrievalFigures figures =
      retrieval_figures({0, 7}, {0, 4, 12, 0}, {0, 0, 1, 1}, {.resamples = 50});
  EXPECT_DOUBLE_EQ(figures.image_to_text.recall_at_1.value, 50);
  EXPECT_DOUBLE_EQ(figures.image_to_text.recall_at_10.value, 100);
  EXPECT_DOUBLE_EQ(figures.text_to_image.recall_at_1.value, 50);
  EXPECT_DOUBLE_EQ(figures.text_to_image.recall_at_5.value, 75);
  EXPECT_DOUBLE_EQ(figures.text_to_image.median_rank.value, 3);
  EXPECT_DOUBLE_EQ(figures.image_to_text.median_rank.value, 4.5);
  EXPECT_DOUBLE_EQ(figures.recall_sum.value, 50 + 50 + 100 + 50 + 75 + 75);
}

TEST(Retrieval, RefusesScoresThatAreNotNumbers) {
  std::vector<float> vectors{1, 0, 0, 1};
  const MatrixView view{vectors.data(), 2, 2};
  const Relevant relevant{{0}, {1}};
  EXPECT_EQ(best_ranks(view, view, relevant), (std::vector<std::size_t>{0, 0}));
  vectors[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(best_ranks(view, view, relevant), Error);
  EXPECT_THROW(best_ranks(view, view, {{0}}), Error);
}

// A perfect order of the candidates puts every answer among them first; a constant one ranks by
// what is left of the vectors' order only where no candidate answers.
TEST(Retrieval, RerankingMovesOnlyWhatIsAmongTheCandidates) {
  const std::vector<std::size_t> ranks{3, 30};
  const Relevant relevant{{5}, {6}};
  const std::vector<std::vector<std::size_t>> candidates{{1, 2, 3, 5}, {1, 2, 3, 5}};
  EXPECT_EQ(reranked(ranks, candidates, {{0, 0, 0, 1}, {0, 0, 0, 1}}, relevant),
            (std::vector<std::size_t>{0, 30}));
}

TEST(Binary, SeparatedScoresAreSeparated) {
  const std::vector<float> high{2, 3, 4}, low{-1, 0, 1};
  EXPECT_DOUBLE_EQ(auroc(high, low), 1);
  EXPECT_DOUBLE_EQ(auroc(low, high), 0);
  EXPECT_DOUBLE_EQ(auroc(high, high), 0.5);
  EXPECT_DOUBLE_EQ(best_threshold(high, low), 1.5);
  EXPECT_DOUBLE_EQ(accuracy_at(1.5, high, low), 1);
}

// A threshold is never measured where it was chosen: on noise, accuracy stays at chance.
TEST(Binary, NoiseIsAtChance) {
  Random random(11);
  std::vector<float> a(2000), b(2000);
  std::vector<std::size_t> unit(2000);
  std::iota(unit.begin(), unit.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<float>(random.uniform());
    b[i] = static_cast<float>(random.uniform());
  }
  const BinaryFigures figures = binary_figures({a, b, unit, unit}, 2000, {.resamples = 20});
  EXPECT_NEAR(figures.accuracy.value, 50, 3);
  EXPECT_NEAR(figures.auroc.value, 50, 3);
}

TEST(Classes, RefusesWhatDoesNotGoTogether) {
  const std::vector<float> values{0.5, 0.5};
  EXPECT_THROW(classification_figures({values.data(), 1, 2}, {2}), Error);
  EXPECT_THROW(classification_figures({values.data(), 1, 2}, {}), Error);
  EXPECT_THROW(multi_label_figures({values.data(), 1, 2}, {{0, 3}}), Error);
}

}  // namespace
}  // namespace bifocal::training
