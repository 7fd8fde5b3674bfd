#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::training {

// A run as one page that needs no other file. It is drawn from lines as the logs have them:
//   {"event": "step", "phase", "epoch", "loss", "learning_rate"}, {"event": "evaluation", "phase",
//   "epoch", "metrics"}: curves of each phase;
//   {"event": "figures", ...Section::to_json()}: the table, and of a class section's details the
//   confusion matrix and the classes of the last row;
//   {"event": "seeds", "metric", "values", "mean", "deviation"};
//   {"event": "calibration", "when", "error", "bins": [{"count", "confidence", "accuracy"}]};
//   {"event": "mistake", "id", "truth", "given", "probability", "thumbnail"}.
// Other lines are left alone.
std::string render_report(std::string_view title, const std::vector<nlohmann::ordered_json>& lines);

// Writes `run`/report.jsonl (the lines of `logs`, then `lines`) and report.html, drawn from it.
// Throws Error: kIo, kNotFound.
void write_report(const std::filesystem::path& run, std::string_view title,
                  const std::vector<std::filesystem::path>& logs,
                  const std::vector<nlohmann::ordered_json>& lines);

}  // namespace bifocal::training
