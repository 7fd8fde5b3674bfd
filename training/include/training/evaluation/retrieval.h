#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "training/evaluation/bootstrap.h"

namespace bifocal::training {

// float32, row-major, not owned.
struct MatrixView {
  const float* values = nullptr;
  std::size_t rows = 0;
  std::size_t columns = 0;

  std::span<const float> row(std::size_t index) const {
    return {values + index * columns, columns};
  }
};

// Of each query the rows of the gallery that answer it.
using Relevant = std::vector<std::vector<std::size_t>>;  // [queries]

// Of each query the rank, from 0, of the best of its relevant rows by dot product: how many rows
// that do not answer it score higher. Throws Error(kNumerical) where a score is not finite, and
// Error(kInvalidArgument) for shapes that do not go together or a query without a relevant row.
std::vector<std::size_t> best_ranks(MatrixView queries, MatrixView gallery,
                                    const Relevant& relevant);

// Of each query its `count` highest rows of the gallery (or all, where there are fewer), best
// first; of equal ones the earlier row first.
std::vector<std::vector<std::size_t>> nearest(MatrixView queries, MatrixView gallery,
                                              std::size_t count);

// The ranks once each query's candidates, as nearest() gives them, are put in the order of their
// `scores` (one a candidate); what is no candidate stays behind them. `ranks`: as best_ranks() has
// them without.
std::vector<std::size_t> reranked(const std::vector<std::size_t>& ranks,
                                  const std::vector<std::vector<std::size_t>>& candidates,
                                  const std::vector<std::vector<float>>& scores,
                                  const Relevant& relevant);

// Recall at k: the percentage of queries whose best relevant row is among the first k.
struct RankFigures {
  Estimate recall_at_1, recall_at_5, recall_at_10;  // percent
  Estimate median_rank;                             // from 1
};
// `unit[q]`: what query q was drawn with (the image of a caption): resampled together. Units are 0
// to `units` - 1.
RankFigures rank_figures(const std::vector<std::size_t>& ranks,
                         const std::vector<std::size_t>& unit, std::size_t units,
                         const BootstrapOptions& options = {});

// Both directions between images and their captions, and rsum: the sum of the six recalls.
struct RetrievalFigures {
  RankFigures image_to_text, text_to_image;
  Estimate recall_sum;
};
// `image_of[t]`: the image of caption t; every image has a rank, the captions' stand in their
// order.
RetrievalFigures retrieval_figures(const std::vector<std::size_t>& image_to_text,
                                   const std::vector<std::size_t>& text_to_image,
                                   const std::vector<std::size_t>& image_of,
                                   const BootstrapOptions& options = {});

}  // namespace bifocal::training
