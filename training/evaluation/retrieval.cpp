#include "training/evaluation/retrieval.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/matmul.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "bifocal/error.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kBlockScores = std::size_t{1} << 22;  // 16 MiB of them at a time

at::Tensor as_tensor(MatrixView matrix, std::size_t first, std::size_t rows) {
  // Nothing writes to it.
  return at::from_blob(const_cast<float*>(matrix.values) + first * matrix.columns,  // NOLINT
                       {static_cast<std::int64_t>(rows), static_cast<std::int64_t>(matrix.columns)},
                       at::kFloat);
}

// Calls `use(query, scores)` for each query with its dot products with the gallery's rows.
void for_each_row(MatrixView queries, MatrixView gallery,
                  const std::function<void(std::size_t, std::span<const float>)>& use) {
  if (queries.columns != gallery.columns)
    throw Error(ErrorCode::kInvalidArgument, "the queries' vectors are not of the gallery's size");
  if (gallery.rows == 0) throw Error(ErrorCode::kInvalidArgument, "the gallery is empty");
  const c10::InferenceMode guard;
  const at::Tensor transposed = as_tensor(gallery, 0, gallery.rows).t();
  const std::size_t block = std::max<std::size_t>(1, kBlockScores / gallery.rows);
  for (std::size_t first = 0; first < queries.rows; first += block) {
    const std::size_t count = std::min(block, queries.rows - first);
    const at::Tensor scores =
        at::matmul(as_tensor(queries, first, count), transposed).contiguous();  // [count, gallery]
    for (std::size_t i = 0; i < count; ++i) {
      const std::span<const float> row(scores.const_data_ptr<float>() + i * gallery.rows,
                                       gallery.rows);
      if (!std::all_of(row.begin(), row.end(), [](float score) { return std::isfinite(score); }))
        throw Error(ErrorCode::kNumerical,
                    "the scores of query " + std::to_string(first + i) + " are not finite");
      use(first + i, row);
    }
  }
}

struct Hits {
  double at_1 = 0, at_5 = 0, at_10 = 0, queries = 0;
  void add(const Hits& other) {
    at_1 += other.at_1;
    at_5 += other.at_5;
    at_10 += other.at_10;
    queries += other.queries;
  }
};
using HitsOfUnits = std::vector<Hits>;

HitsOfUnits hits_of_units(const std::vector<std::size_t>& ranks,
                          const std::vector<std::size_t>& unit, std::size_t units) {
  HitsOfUnits hits(units);
  for (std::size_t q = 0; q < ranks.size(); ++q)
    hits.at(unit[q]).add(
        {ranks[q] < 1 ? 1.0 : 0, ranks[q] < 5 ? 1.0 : 0, ranks[q] < 10 ? 1.0 : 0, 1});
  return hits;
}

Hits total(const HitsOfUnits& hits, std::span<const std::size_t> drawn) {
  Hits sum;
  for (const std::size_t unit : drawn) sum.add(hits[unit]);
  return sum;
}

Estimate recall(const HitsOfUnits& hits, double Hits::*at_k, const BootstrapOptions& options) {
  return bootstrap(
      hits.size(),
      [&](std::span<const std::size_t> drawn) {
        const Hits sum = total(hits, drawn);
        return 100 * sum.*at_k / sum.queries;
      },
      options);
}

double median(std::vector<std::size_t>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return static_cast<double>(*middle);
  return static_cast<double>(*middle + *std::max_element(values.begin(), middle)) / 2;
}

Estimate median_rank(const std::vector<std::size_t>& ranks, const std::vector<std::size_t>& unit,
                     std::size_t units, const BootstrapOptions& options) {
  std::vector<std::vector<std::size_t>> of_unit(units);
  for (std::size_t q = 0; q < ranks.size(); ++q) of_unit.at(unit[q]).push_back(ranks[q] + 1);
  return bootstrap(
      units,
      [&](std::span<const std::size_t> drawn) {
        std::vector<std::size_t> values;
        for (const std::size_t u : drawn)
          values.insert(values.end(), of_unit[u].begin(), of_unit[u].end());
        return values.empty() ? std::nan("") : median(values);
      },
      options);
}

}  // namespace

std::vector<std::size_t> best_ranks(MatrixView queries, MatrixView gallery,
                                    const Relevant& relevant) {
  if (relevant.size() != queries.rows)
    throw Error(ErrorCode::kInvalidArgument, "each query needs its list of relevant rows");
  std::vector<std::size_t> ranks(queries.rows);
  std::vector<bool> answers(gallery.rows);
  for_each_row(queries, gallery, [&](std::size_t query, std::span<const float> scores) {
    if (relevant[query].empty())
      throw Error(ErrorCode::kInvalidArgument,
                  "query " + std::to_string(query) + " has no relevant row");
    float best = scores[relevant[query].front()];
    for (const std::size_t row : relevant[query]) {
      best = std::max(best, scores[row]);
      answers[row] = true;
    }
    std::size_t above = 0;
    for (std::size_t row = 0; row < scores.size(); ++row)
      above += scores[row] > best && !answers[row] ? 1 : 0;
    ranks[query] = above;
    for (const std::size_t row : relevant[query]) answers[row] = false;
  });
  return ranks;
}

std::vector<std::vector<std::size_t>> nearest(MatrixView queries, MatrixView gallery,
                                              std::size_t count) {
  std::vector<std::vector<std::size_t>> rows(queries.rows);
  std::vector<std::size_t> order(gallery.rows);
  const std::size_t kept = std::min(count, gallery.rows);
  for_each_row(queries, gallery, [&](std::size_t query, std::span<const float> scores) {
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(kept);
    std::partial_sort(order.begin(), end, order.end(), [&](std::size_t a, std::size_t b) {
      return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
    });
    rows[query].assign(order.begin(), end);
  });
  return rows;
}

std::vector<std::size_t> reranked(const std::vector<std::size_t>& ranks,
                                  const std::vector<std::vector<std::size_t>>& candidates,
                                  const std::vector<std::vector<float>>& scores,
                                  const Relevant& relevant) {
  std::vector<std::size_t> result = ranks;
  for (std::size_t query = 0; query < ranks.size(); ++query) {
    const auto answers = [&](std::size_t row) {
      return std::find(relevant[query].begin(), relevant[query].end(), row) !=
             relevant[query].end();
    };
    bool found = false;
    float best = 0;
    for (std::size_t c = 0; c < candidates[query].size(); ++c) {
      if (!answers(candidates[query][c])) continue;
      best = found ? std::max(best, scores[query][c]) : scores[query][c];
      found = true;
    }
    if (!found) continue;  // none of them: the order among the others does not matter
    result[query] = 0;
    for (std::size_t c = 0; c < candidates[query].size(); ++c)
      result[query] += scores[query][c] > best && !answers(candidates[query][c]) ? 1 : 0;
  }
  return result;
}

RankFigures rank_figures(const std::vector<std::size_t>& ranks,
                         const std::vector<std::size_t>& unit, std::size_t units,
                         const BootstrapOptions& options) {
  const HitsOfUnits hits = hits_of_units(ranks, unit, units);
  return {recall(hits, &Hits::at_1, options), recall(hits, &Hits::at_5, options),
          recall(hits, &Hits::at_10, options), median_rank(ranks, unit, units, options)};
}

RetrievalFigures retrieval_figures(const std::vector<std::size_t>& image_to_text,
                                   const std::vector<std::size_t>& text_to_image,
                                   const std::vector<std::size_t>& image_of,
                                   const BootstrapOptions& options) {
  const std::size_t images = image_to_text.size();
  std::vector<std::size_t> itself(images);
  std::iota(itself.begin(), itself.end(), std::size_t{0});
  RetrievalFigures figures;
  figures.image_to_text = rank_figures(image_to_text, itself, images, options);
  figures.text_to_image = rank_figures(text_to_image, image_of, images, options);
  const HitsOfUnits forward = hits_of_units(image_to_text, itself, images);
  const HitsOfUnits backward = hits_of_units(text_to_image, image_of, images);
  figures.recall_sum = bootstrap(
      images,
      [&](std::span<const std::size_t> drawn) {
        const Hits a = total(forward, drawn), b = total(backward, drawn);
        return 100 *
               ((a.at_1 + a.at_5 + a.at_10) / a.queries + (b.at_1 + b.at_5 + b.at_10) / b.queries);
      },
      options);
  return figures;
}

}  // namespace bifocal::training
