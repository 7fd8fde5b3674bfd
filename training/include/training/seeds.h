#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bifocal::training {

// What several seeds of one run came to: the metric of each.
struct SeedOutcome {
  std::string metric;
  std::vector<double> values;

  double mean() const;
  double deviation() const;  // of a sample; 0 of one value

  // For a reader of the card, with an empty line behind; for one who watches; a line of report.h.
  // Of two values or more.
  std::string for_card() const;
  std::string to_text() const;
  nlohmann::ordered_json to_json() const;
};

}  // namespace bifocal::training
