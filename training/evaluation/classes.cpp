#include "training/evaluation/classes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

void check(bool holds, const char* what) {
  if (!holds) throw Error(ErrorCode::kInvalidArgument, what);
}

double ratio(std::size_t part, std::size_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

struct Counts {
  std::size_t hits = 0, support = 0, predicted = 0;
  double f1() const { return ratio(2 * hits, support + predicted); }
  ClassFigures figures() const {
    return {support, predicted, ratio(hits, predicted), ratio(hits, support), f1()};
  }
};

double macro_f1(const std::vector<Counts>& counts, bool of_all) {
  double sum = 0;
  std::size_t classes = 0;
  for (const Counts& c : counts) {
    if (!of_all && c.support + c.predicted == 0) continue;
    sum += c.f1();
    ++classes;
  }
  return classes == 0 ? 0 : sum / static_cast<double>(classes);
}

std::size_t best_class(std::span<const float> row) {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

std::vector<std::vector<bool>> columns_of(const std::vector<std::vector<std::size_t>>& truth,
                                          std::size_t classes) {
  std::vector<std::vector<bool>> columns(classes, std::vector<bool>(truth.size()));
  for (std::size_t i = 0; i < truth.size(); ++i)
    for (const std::size_t label : truth[i]) columns.at(label)[i] = true;
  return columns;
}

}  // namespace

ClassificationFigures classification_figures(MatrixView probabilities,
                                             const std::vector<std::size_t>& truth,
                                             const BootstrapOptions& options) {
  const std::size_t classes = probabilities.columns, records = probabilities.rows;
  check(truth.size() == records && classes > 0, "each row of probabilities needs its true class");
  ClassificationFigures figures;
  figures.confusion.assign(classes, std::vector<std::size_t>(classes));
  std::vector<std::size_t> given(records);
  std::vector<double> in_1(records), in_5(records);
  for (std::size_t i = 0; i < records; ++i) {
    check(truth[i] < classes, "a true class is none of the model's");
    const std::span<const float> row = probabilities.row(i);
    given[i] = best_class(row);
    ++figures.confusion[truth[i]][given[i]];
    const auto above =
        std::count_if(row.begin(), row.end(), [&](float value) { return value > row[truth[i]]; });
    in_1[i] = given[i] == truth[i] ? 100 : 0;
    in_5[i] = above < 5 ? 100 : 0;
  }
  const auto mean_of = [&](const std::vector<double>& values) {
    return bootstrap(
        records,
        [&](std::span<const std::size_t> drawn) {
          double sum = 0;
          for (const std::size_t i : drawn) sum += values[i];
          return sum / static_cast<double>(drawn.size());
        },
        options);
  };
  figures.top_1 = mean_of(in_1);
  figures.top_5 = mean_of(in_5);
  const auto counts_of = [&](std::span<const std::size_t> drawn) {
    std::vector<Counts> counts(classes);
    for (const std::size_t i : drawn) {
      ++counts[truth[i]].support;
      ++counts[given[i]].predicted;
      if (given[i] == truth[i]) ++counts[truth[i]].hits;
    }
    return counts;
  };
  figures.macro_f1 = bootstrap(
      records,
      [&](std::span<const std::size_t> drawn) { return 100 * macro_f1(counts_of(drawn), false); },
      options);
  std::vector<std::size_t> all(records);
  std::iota(all.begin(), all.end(), std::size_t{0});
  for (const Counts& counts : counts_of(all)) figures.classes.push_back(counts.figures());
  figures.calibration_error = 100 * expected_calibration_error(probabilities, truth);
  return figures;
}

std::vector<ReliabilityBin> reliability_bins(MatrixView probabilities,
                                             const std::vector<std::size_t>& truth,
                                             std::size_t bins) {
  std::vector<ReliabilityBin> found(bins);
  for (std::size_t i = 0; i < probabilities.rows; ++i) {
    const std::span<const float> row = probabilities.row(i);
    const std::size_t given = best_class(row);
    const auto confidence = static_cast<double>(row[given]);
    // Bins are open below and closed above.
    const double place = std::ceil(confidence * static_cast<double>(bins)) - 1;
    ReliabilityBin& bin =
        found[static_cast<std::size_t>(std::clamp(place, 0.0, static_cast<double>(bins - 1)))];
    ++bin.count;
    bin.confidence += confidence;
    bin.accuracy += given == truth[i] ? 1 : 0;
  }
  for (ReliabilityBin& bin : found) {
    if (bin.count == 0) continue;
    bin.confidence /= static_cast<double>(bin.count);
    bin.accuracy /= static_cast<double>(bin.count);
  }
  return found;
}

double expected_calibration_error(MatrixView probabilities, const std::vector<std::size_t>& truth,
                                  std::size_t bins) {
  double error = 0;
  for (const ReliabilityBin& bin : reliability_bins(probabilities, truth, bins))
    error += static_cast<double>(bin.count) * std::abs(bin.confidence - bin.accuracy);
  return probabilities.rows == 0 ? 0 : error / static_cast<double>(probabilities.rows);
}

double average_precision(std::span<const float> scores, const std::vector<bool>& positive) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  double sum = 0;
  std::size_t hits = 0;
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin, tied = 0;
    for (; end < order.size() && scores[order[end]] == scores[order[begin]]; ++end)
      tied += positive[order[end]] ? 1 : 0;
    hits += tied;
    sum += static_cast<double>(tied) * ratio(hits, end);
    begin = end;
  }
  return hits == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(hits);
}

MultiLabelFigures multi_label_figures(MatrixView probabilities,
                                      const std::vector<std::vector<std::size_t>>& truth,
                                      double threshold, const BootstrapOptions& options) {
  const std::size_t classes = probabilities.columns, records = probabilities.rows;
  check(truth.size() == records && classes > 0, "each row of probabilities needs its true classes");
  for (const std::vector<std::size_t>& labels : truth)
    for (const std::size_t label : labels)
      check(label < classes, "a true class is none of the model's");
  const std::vector<std::vector<bool>> columns = columns_of(truth, classes);
  const auto given = [&](std::size_t record, std::size_t c) {
    return static_cast<double>(probabilities.row(record)[c]) >= threshold;
  };
  const auto counts_of = [&](std::span<const std::size_t> drawn) {
    std::vector<Counts> counts(classes);
    for (const std::size_t i : drawn)
      for (std::size_t c = 0; c < classes; ++c) {
        counts[c].support += columns[c][i] ? 1 : 0;
        counts[c].predicted += given(i, c) ? 1 : 0;
        counts[c].hits += columns[c][i] && given(i, c) ? 1 : 0;
      }
    return counts;
  };
  const auto precision_of = [&](std::size_t c, std::span<const std::size_t> drawn) {
    std::vector<float> scores;
    std::vector<bool> positive;
    for (const std::size_t i : drawn) {
      scores.push_back(probabilities.row(i)[c]);
      positive.push_back(columns[c][i]);
    }
    return 100 * average_precision(scores, positive);
  };

  MultiLabelFigures figures;
  figures.mean_average_precision = bootstrap(
      records,
      [&](std::span<const std::size_t> drawn) {
        double sum = 0;
        std::size_t occurring = 0;
        for (std::size_t c = 0; c < classes; ++c) {
          const double precision = precision_of(c, drawn);
          if (std::isnan(precision)) continue;
          sum += precision;
          ++occurring;
        }
        return sum / static_cast<double>(occurring);
      },
      options);
  figures.micro_f1 = bootstrap(
      records,
      [&](std::span<const std::size_t> drawn) {
        Counts sum;
        for (const Counts& counts : counts_of(drawn)) {
          sum.hits += counts.hits;
          sum.support += counts.support;
          sum.predicted += counts.predicted;
        }
        return 100 * sum.f1();
      },
      options);
  figures.macro_f1 = bootstrap(
      records,
      [&](std::span<const std::size_t> drawn) { return 100 * macro_f1(counts_of(drawn), true); },
      options);
  std::vector<std::size_t> all(records);
  std::iota(all.begin(), all.end(), std::size_t{0});
  for (const Counts& counts : counts_of(all)) figures.classes.push_back(counts.figures());
  for (std::size_t c = 0; c < classes; ++c)
    figures.average_precision.push_back(precision_of(c, all));
  return figures;
}

}  // namespace bifocal::training
