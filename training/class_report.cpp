#include "training/class_report.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "nn/weights.h"
#include "training/evaluation/classes.h"
#include "training/evaluation/encoded_set.h"
#include "training/temperature.h"
#include "training/thumbnail.h"
#include "vision/codec.h"

namespace bifocal::training {
namespace {

constexpr std::size_t kMistakesShown = 12;
constexpr std::int64_t kThumbnailSide = 150;

// Divides the head's logits by the temperature, in its last layers.
void scale_head(const ClassModel& model, double temperature) {
  const c10::NoGradGuard no_grad;
  const std::string head = "class_heads." + model.labels().name + ".";
  const std::vector<std::string> last =
      model.labels().hidden_size > 0 ? std::vector<std::string>{"out."}
                                     : std::vector<std::string>{"", "vision.dense.", "text.dense."};
  nn::StateDict weights = nn::state_dict_of(*model.fusion);
  for (const std::string& layer : last)
    for (const char* part : {"weight", "bias"}) weights.at(head + layer + part).div_(temperature);
}

nlohmann::ordered_json calibration_line(const ClassSide& fused, const char* when) {
  const at::Tensor probabilities = class_probabilities(fused.logits, /*multi_label=*/false);
  std::vector<std::size_t> truth;
  for (const auto& labels : fused.truth) truth.push_back(labels.front());
  nlohmann::ordered_json line{
      {"event", "calibration"},
      {"when", when},
      {"error", 100 * expected_calibration_error(as_matrix(probabilities), truth)},
      {"bins", nlohmann::ordered_json::array()}};
  for (const ReliabilityBin& bin : reliability_bins(as_matrix(probabilities), truth))
    line["bins"].push_back(
        {{"count", bin.count}, {"confidence", bin.confidence}, {"accuracy", bin.accuracy}});
  return line;
}

std::string joined(const std::vector<std::size_t>& classes, const fusion::LabelSet& set) {
  std::string text;
  for (const std::size_t c : classes) text += (text.empty() ? "" : ", ") + set.labels[c];
  return text.empty() ? "none" : text;
}

struct Mistake {
  std::size_t example;
  double probability;              // of the truth
  std::vector<std::size_t> given;  // classes
};

Mistake judged(std::size_t example, std::span<const float> row,
               const std::vector<std::size_t>& truth, const fusion::LabelSet& set) {
  Mistake mistake{example, 1, {}};
  const auto best =
      static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
  for (std::size_t c = 0; c < row.size(); ++c) {
    const auto p = static_cast<double>(row[c]);
    if (set.multi_label ? p >= 0.5 : c == best) mistake.given.push_back(c);
    if (std::find(truth.begin(), truth.end(), c) != truth.end())
      mistake.probability *= p;
    else if (set.multi_label)
      mistake.probability *= 1 - p;
  }
  return mistake;
}

std::vector<Mistake> mistakes(const ClassSide& fused, const fusion::LabelSet& set) {
  const at::Tensor probabilities = class_probabilities(fused.logits, set.multi_label);
  std::vector<Mistake> wrong;
  for (std::size_t i = 0; i < fused.truth.size(); ++i) {
    Mistake mistake = judged(i, as_matrix(probabilities).row(i), fused.truth[i], set);
    if (mistake.given != fused.truth[i]) wrong.push_back(std::move(mistake));
  }
  std::ranges::stable_sort(wrong, {}, &Mistake::probability);
  return wrong;
}

}  // namespace

Calibration calibrate(const ClassModel& model, std::vector<ClassSide>& sides) {
  const bool several = model.labels().multi_label;
  ClassSide& fused = sides.back();
  Calibration calibration;
  if (!several) calibration.lines.push_back(calibration_line(fused, "before"));
  const at::Tensor targets = targets_of(fused);
  calibration.temperature = fit_temperature(fused.logits, several ? targets : targets.argmax(1));
  // A set without a mistake asks for certainty, which it is too small to grant.
  if (mistakes(fused, model.labels()).empty())
    calibration.temperature = std::max(calibration.temperature, 1.0);
  scale_head(model, calibration.temperature);
  for (ClassSide& side : sides) side.logits = (side.logits / calibration.temperature).contiguous();
  if (several) return calibration;
  calibration.lines.push_back(calibration_line(fused, "after"));
  calibration.error_before = calibration.lines.front().at("error").get<double>();
  calibration.error_after = calibration.lines.back().at("error").get<double>();
  return calibration;
}

std::vector<nlohmann::ordered_json> mistake_lines(const ClassExamples& examples,
                                                  const fusion::LabelSet& set,
                                                  const ClassSide& fused) {
  std::vector<Mistake> wrong = mistakes(fused, set);
  if (wrong.size() > kMistakesShown) wrong.resize(kMistakesShown);
  std::vector<nlohmann::ordered_json> lines;
  for (const Mistake& mistake : wrong) {
    const Record& record = examples.records[mistake.example];
    nlohmann::ordered_json line{{"event", "mistake"},
                                {"id", record.id},
                                {"truth", joined(fused.truth[mistake.example], set)},
                                {"given", joined(mistake.given, set)},
                                {"probability", mistake.probability}};
    if (examples.has_image(mistake.example))
      line["thumbnail"] = thumbnail_data_uri(
          vision::decode(examples.records.read_image(mistake.example)), kThumbnailSide);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace bifocal::training
