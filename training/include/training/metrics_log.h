#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace bifocal::training {

// A run's numbers as JSON lines, each written through at once: what report and charts are made
// from. Every line has "event" and "step".
class MetricsLog {
 public:
  // Goes on with a file that exists, less the lines of steps after `step`, which a resumed run will
  // write again. Throws Error(kIo).
  MetricsLog(const std::filesystem::path& path, std::int64_t step);

  // A line that cannot be written (a full disk) is dropped: training goes on.
  void write(const nlohmann::json& line);

 private:
  std::ofstream file_;
};

}  // namespace bifocal::training
