#include "training/evaluation/class_section.h"

#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "training/evaluation/classes.h"
#include "training/evaluation/encoded_set.h"

namespace bifocal::training {
namespace {

Estimate plain(double value) {
  constexpr double kNoInterval = std::numeric_limits<double>::quiet_NaN();
  return {value, kNoInterval, kNoInterval};
}

}  // namespace

at::Tensor class_probabilities(const at::Tensor& logits, bool multi_label) {
  return (multi_label ? at::sigmoid(logits) : at::softmax(logits, 1)).contiguous();
}

Section class_section(const fusion::LabelSet& set, const std::vector<ClassSide>& sides,
                      const BootstrapOptions& options) {
  std::size_t records = 0;
  for (const ClassSide& side : sides) records = std::max(records, side.truth.size());
  Section section;
  section.name = "classes";
  section.title = "Classes of the label set \"" + set.name + "\": " + std::to_string(records) +
                  " records, " + std::to_string(set.labels.size()) + " labels";
  section.columns =
      set.multi_label
          ? std::vector<std::string>{"records", "mAP", "micro F1", "macro F1"}
          : std::vector<std::string>{"records", "top-1", "top-5", "macro F1", "calibration error"};
  section.details["labels"] = set.labels;
  for (const ClassSide& side : sides) {
    const at::Tensor probabilities = class_probabilities(side.logits, set.multi_label);
    const Estimate count = plain(static_cast<double>(side.truth.size()));
    std::vector<ClassFigures> classes;
    nlohmann::ordered_json& details = section.details[side.name];
    if (set.multi_label) {
      const MultiLabelFigures figures =
          multi_label_figures(as_matrix(probabilities), side.truth, 0.5, options);
      section.rows.push_back(
          {side.name, {count, figures.mean_average_precision, figures.micro_f1, figures.macro_f1}});
      classes = figures.classes;
      details["average_precision"] = figures.average_precision;
    } else {
      std::vector<std::size_t> one;
      for (const auto& labels : side.truth) one.push_back(labels.front());
      const ClassificationFigures figures =
          classification_figures(as_matrix(probabilities), one, options);
      section.rows.push_back({side.name,
                              {count, figures.top_1, figures.top_5, figures.macro_f1,
                               plain(figures.calibration_error)}});
      classes = figures.classes;
      details["confusion"] = figures.confusion;
    }
    for (std::size_t c = 0; c < classes.size(); ++c)
      details["classes"][set.labels[c]] = {{"support", classes[c].support},
                                           {"predicted", classes[c].predicted},
                                           {"precision", classes[c].precision},
                                           {"recall", classes[c].recall},
                                           {"f1", classes[c].f1}};
  }
  return section;
}

}  // namespace bifocal::training
