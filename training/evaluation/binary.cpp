#include "training/evaluation/binary.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace bifocal::training {
namespace {

struct Scored {
  float score;
  bool positive;
};

std::vector<Scored> sorted_together(std::span<const float> positives,
                                    std::span<const float> negatives) {
  std::vector<Scored> all;
  all.reserve(positives.size() + negatives.size());
  for (const float score : positives) all.push_back({score, true});
  for (const float score : negatives) all.push_back({score, false});
  std::sort(all.begin(), all.end(),
            [](const Scored& a, const Scored& b) { return a.score < b.score; });
  return all;
}

// Scores of the units that `drawn` holds, as often as it holds them.
class Resampling {
 public:
  Resampling(std::span<const float> scores, std::span<const std::size_t> unit, std::size_t units)
      : of_unit_(units) {
    for (std::size_t i = 0; i < scores.size(); ++i) of_unit_.at(unit[i]).push_back(scores[i]);
  }
  std::vector<float> draw(std::span<const std::size_t> drawn) const {
    std::vector<float> scores;
    for (const std::size_t unit : drawn)
      scores.insert(scores.end(), of_unit_[unit].begin(), of_unit_[unit].end());
    return scores;
  }
  const std::vector<float>& of(std::size_t unit) const { return of_unit_[unit]; }

 private:
  std::vector<std::vector<float>> of_unit_;
};

}  // namespace

double auroc(std::span<const float> positives, std::span<const float> negatives) {
  if (positives.empty() || negatives.empty()) return std::numeric_limits<double>::quiet_NaN();
  const std::vector<Scored> all = sorted_together(positives, negatives);
  double won = 0;
  double below = 0;  // negatives
  for (std::size_t begin = 0; begin < all.size();) {
    std::size_t end = begin;
    double tied_positives = 0, tied_negatives = 0;
    for (; end < all.size() && all[end].score == all[begin].score; ++end)
      (all[end].positive ? tied_positives : tied_negatives) += 1;
    won += tied_positives * (below + tied_negatives / 2);
    below += tied_negatives;
    begin = end;
  }
  return won / static_cast<double>(positives.size()) / static_cast<double>(negatives.size());
}

double best_threshold(std::span<const float> positives, std::span<const float> negatives) {
  const std::vector<Scored> all = sorted_together(positives, negatives);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  double threshold = -kInfinity;
  auto right = static_cast<double>(positives.size());  // below all: everything is positive
  double best = right;
  for (std::size_t i = 0; i < all.size(); ++i) {
    right += all[i].positive ? -1 : 1;
    if (i + 1 < all.size() && all[i + 1].score == all[i].score) continue;
    if (right <= best) continue;
    best = right;
    threshold =
        i + 1 < all.size()
            ? (static_cast<double>(all[i].score) + static_cast<double>(all[i + 1].score)) / 2
            : kInfinity;
  }
  return threshold;
}

double accuracy_at(double threshold, std::span<const float> positives,
                   std::span<const float> negatives) {
  const auto above = [threshold](float score) { return static_cast<double>(score) > threshold; };
  const auto right = std::count_if(positives.begin(), positives.end(), above) +
                     static_cast<std::ptrdiff_t>(negatives.size()) -
                     std::count_if(negatives.begin(), negatives.end(), above);
  return static_cast<double>(right) / static_cast<double>(positives.size() + negatives.size());
}

BinaryFigures binary_figures(const ScoredPairs& pairs, std::size_t units,
                             const BootstrapOptions& options) {
  const Resampling positives(pairs.positives, pairs.positive_units, units);
  const Resampling negatives(pairs.negatives, pairs.negative_units, units);

  // The threshold of each half is the other half's; then it is fixed.
  std::array<std::vector<std::size_t>, 2> halves;
  for (std::size_t unit = 0; unit < units; ++unit) halves[unit % 2].push_back(unit);
  std::array<double, 2> threshold{};
  for (const std::size_t half : {0u, 1u})
    threshold[half] =
        best_threshold(positives.draw(halves[1 - half]), negatives.draw(halves[1 - half]));
  std::vector<double> right(units), count(units);
  for (std::size_t unit = 0; unit < units; ++unit) {
    const auto& p = positives.of(unit);
    const auto& n = negatives.of(unit);
    count[unit] = static_cast<double>(p.size() + n.size());
    if (count[unit] > 0) right[unit] = accuracy_at(threshold[unit % 2], p, n) * count[unit];
  }

  BinaryFigures figures;
  figures.accuracy = bootstrap(
      units,
      [&](std::span<const std::size_t> drawn) {
        double sum = 0, all = 0;
        for (const std::size_t unit : drawn) {
          sum += right[unit];
          all += count[unit];
        }
        return 100 * sum / all;
      },
      options);
  figures.auroc = bootstrap(
      units,
      [&](std::span<const std::size_t> drawn) {
        return 100 * auroc(positives.draw(drawn), negatives.draw(drawn));
      },
      options);
  return figures;
}

}  // namespace bifocal::training
