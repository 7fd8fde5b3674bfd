#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "training/train_config.h"
#include "training/trainer.h"

namespace bifocal::training {

struct RunOptions {
  bool resume = false;                               // go on with what is in the run's directory
  bool replace = false;                              // the bundle, where it exists
  std::vector<Observer*> observers;                  // of rank 0
  ProcessGroup* group = nullptr;                     // who trains together; none: alone
  std::function<bool()> interrupted;                 // asked often; may be empty
  std::function<void(const std::string& line)> say;  // what is being done; may be empty
  std::function<void(std::size_t, std::size_t)> encoding;  // images or texts done, of all
};

struct RunReport {
  bool interrupted = false;  // no bundle yet: `--resume` goes on
  Metrics metrics;           // of the weights that were kept, on the validation set
  double core_hours = 0;
  // What report.html is made from: the log of each phase, then lines of the preset's own
  // (report.h).
  std::vector<std::filesystem::path> logs;
  std::vector<nlohmann::ordered_json> lines;
};

// Trains what config.preset says and writes the bundle config.out, with its card, the resolved
// config and the log; and in the run's directory report.html, report.jsonl with the same numbers,
// and events/ for TensorBoard. In a group every rank calls it, with a run directory that all share;
// rank 0 writes and says. Throws Error.
RunReport run_training(const TrainConfig& config, const RunOptions& options);

// The presets, each in a file of its own; options.group is there.
RunReport run_retrieval(const TrainConfig& config, const RunOptions& options);
RunReport run_classes(const TrainConfig& config, const RunOptions& options);
RunReport run_contrasts(const TrainConfig& config, const RunOptions& options);

// What they share.
std::filesystem::path run_directory(const TrainConfig& config);  // config.run, else OUT.training
std::size_t thread_count(const TrainConfig& config);             // of this rank
// What the config says of the optimiser and of saving; `phase` as in messages.
LoopSettings loop_settings(const TrainConfig& config, const std::string& phase);

}  // namespace bifocal::training
