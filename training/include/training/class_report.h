#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "fusion/fusion_config.h"
#include "training/class_examples.h"
#include "training/class_training.h"
#include "training/evaluation/class_section.h"

namespace bifocal::training {

struct Calibration {
  double temperature = 1;
  double error_before = 0, error_after = 0;   // percent, of "fused"; one label a record
  std::vector<nlohmann::ordered_json> lines;  // "calibration" of report.h, before and after
};
// Fits the temperature to the last of `sides` ("fused"), divides the logits of all of them by it,
// and the weights of the class head's last layers, so that what is served is calibrated. At least 1
// where the set has no mistake.
Calibration calibrate(const ClassModel& model, std::vector<ClassSide>& sides);

// "mistake" lines of report.h: of the wrong examples those whose labels are the least probable,
// with thumbnails.
std::vector<nlohmann::ordered_json> mistake_lines(const ClassExamples& examples,
                                                  const fusion::LabelSet& set,
                                                  const ClassSide& fused);

}  // namespace bifocal::training
