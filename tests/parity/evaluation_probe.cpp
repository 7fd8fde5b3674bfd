// evaluation_probe <in.json>: an object of matrices and truths in, the figures of each out.
//
// retrieval    {"queries", "gallery", "relevant"}          -> {"ranks"}
// rerank       the same with "count" and "scores" [Q, N]   -> {"ranks"}
// binary       {"positives", "negatives"}                  -> {"auroc", "accuracy"} at the best
//                                                             threshold for the same scores
// classes      {"probabilities", "truth"}                  -> scikit-learn's figures
// multi_label  {"probabilities", "truth"}                  -> likewise

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/files.h"
#include "training/evaluation/binary.h"
#include "training/evaluation/classes.h"
#include "training/evaluation/retrieval.h"

namespace {

using namespace bifocal::training;
using nlohmann::json;

struct Matrix {
  std::vector<float> values;
  std::size_t rows, columns;
  explicit Matrix(const json& lines) : rows(lines.size()), columns(lines.at(0).size()) {
    for (const json& line : lines)
      for (const json& value : line) values.push_back(value.get<float>());
  }
  operator MatrixView() const { return {values.data(), rows, columns}; }
};

json classes_of(const std::vector<ClassFigures>& classes) {
  json result;
  for (const ClassFigures& c : classes) {
    result["support"].push_back(c.support);
    result["precision"].push_back(c.precision);
    result["recall"].push_back(c.recall);
    result["f1"].push_back(c.f1);
  }
  return result;
}

json rank(const json& in) {
  const Matrix queries(in.at("queries")), gallery(in.at("gallery"));
  const auto relevant = in.at("relevant").get<Relevant>();
  auto ranks = best_ranks(queries, gallery, relevant);
  if (in.contains("count")) {
    const auto candidates = nearest(queries, gallery, in.at("count").get<std::size_t>());
    std::vector<std::vector<float>> scores(candidates.size());
    for (std::size_t q = 0; q < candidates.size(); ++q)
      for (const std::size_t row : candidates[q])
        scores[q].push_back(in.at("scores").at(q).at(row).get<float>());
    ranks = reranked(ranks, candidates, scores, relevant);
  }
  return {{"ranks", ranks}};
}

json binary(const json& in) {
  const auto positives = in.at("positives").get<std::vector<float>>();
  const auto negatives = in.at("negatives").get<std::vector<float>>();
  const double threshold = best_threshold(positives, negatives);
  return {{"auroc", auroc(positives, negatives)},
          {"accuracy", accuracy_at(threshold, positives, negatives)}};
}

json classes(const json& in) {
  const Matrix probabilities(in.at("probabilities"));
  const auto truth = in.at("truth").get<std::vector<std::size_t>>();
  const auto figures = classification_figures(probabilities, truth, {.resamples = 0});
  return {{"top_1", figures.top_1.value},       {"top_5", figures.top_5.value},
          {"macro_f1", figures.macro_f1.value}, {"calibration_error", figures.calibration_error},
          {"confusion", figures.confusion},     {"classes", classes_of(figures.classes)}};
}

json multi_label(const json& in) {
  const Matrix probabilities(in.at("probabilities"));
  const auto truth = in.at("truth").get<std::vector<std::vector<std::size_t>>>();
  const auto figures = multi_label_figures(probabilities, truth, 0.5, {.resamples = 0});
  return {{"mean_average_precision", figures.mean_average_precision.value},
          {"micro_f1", figures.micro_f1.value},
          {"macro_f1", figures.macro_f1.value},
          {"classes", classes_of(figures.classes)}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: evaluation_probe <in.json>\n";
    return 2;
  }
  try {
    const json in = json::parse(bifocal::core::read_text_file(argv[1]));
    json out;
    for (const auto& [name, value] : in.items()) {
      if (name == "retrieval" || name == "rerank") out[name] = rank(value);
      if (name == "binary") out[name] = binary(value);
      if (name == "classes") out[name] = classes(value);
      if (name == "multi_label") out[name] = multi_label(value);
    }
    std::cout << out.dump() << '\n';
    return 0;
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << '\n';
    return 1;
  }
}
