#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bifocal::training {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x, y; ascending x
};

// One bar of a reliability diagram: the items whose confidence lies in the bin.
struct ReliabilityBin {
  std::size_t count = 0;
  double confidence = 0;  // mean
  double accuracy = 0;    // share that is right
};

// Text for HTML and for attributes within double quotes.
std::string escape_html(std::string_view text);
std::string short_number(double value);  // "0.0012", "3.4e-05", "120"

// Self-contained <svg> elements, styled by the classes that report.cpp defines.
std::string line_chart(std::string_view title, std::string_view x_name,
                       const std::vector<Series>& series);
std::string reliability_diagram(std::string_view title, const std::vector<ReliabilityBin>& bins);

}  // namespace bifocal::training
