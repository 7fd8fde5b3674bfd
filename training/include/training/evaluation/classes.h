#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "training/chart.h"
#include "training/evaluation/bootstrap.h"
#include "training/evaluation/retrieval.h"

namespace bifocal::training {

struct ClassFigures {
  std::size_t support = 0;                   // records that have it
  std::size_t predicted = 0;                 // records that were given it
  double precision = 0, recall = 0, f1 = 0;  // from 0 to 1; 0 where not defined, as scikit-learn
};

// One label a record.
struct ClassificationFigures {
  Estimate top_1, top_5;              // percent; top_5 is 100 with five classes or fewer
  Estimate macro_f1;                  // percent; mean over classes that occur or were given
  double calibration_error = 0;       // percent; see expected_calibration_error()
  std::vector<ClassFigures> classes;  // [C]
  std::vector<std::vector<std::size_t>> confusion;  // [C, C]: true, given
};
// probabilities: [N, C], rows that sum to 1; truth[i] < C. Throws Error(kInvalidArgument).
ClassificationFigures classification_figures(MatrixView probabilities,
                                             const std::vector<std::size_t>& truth,
                                             const BootstrapOptions& options = {});

// How confident the predictions were and how often right, over `bins` of equal width.
std::vector<ReliabilityBin> reliability_bins(MatrixView probabilities,
                                             const std::vector<std::size_t>& truth,
                                             std::size_t bins = 15);
// The mean distance between the two, weighted by the bins' records (Guo et al., 2017); from 0 to 1.
double expected_calibration_error(MatrixView probabilities, const std::vector<std::size_t>& truth,
                                  std::size_t bins = 15);

// Any number of labels a record.
struct MultiLabelFigures {
  Estimate mean_average_precision;        // percent; over the classes that occur
  Estimate micro_f1, macro_f1;            // percent; at the threshold
  std::vector<ClassFigures> classes;      // [C]
  std::vector<double> average_precision;  // [C], percent; NaN for a class that does not occur
};
// probabilities: [N, C], each from 0 to 1; truth[i]: the labels of record i, each < C.
MultiLabelFigures multi_label_figures(MatrixView probabilities,
                                      const std::vector<std::vector<std::size_t>>& truth,
                                      double threshold = 0.5, const BootstrapOptions& options = {});

// The sum over the ranks of positives of precision there, over their number; records of one score
// enter together, as in scikit-learn. NaN without a positive.
double average_precision(std::span<const float> scores, const std::vector<bool>& positive);

}  // namespace bifocal::training
