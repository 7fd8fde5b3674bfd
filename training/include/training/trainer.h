#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "training/adamw.h"
#include "training/process_group.h"
#include "training/trainable.h"

namespace bifocal::training {

// How something is trained, whatever it is. train_config.h has the same as a user writes it.
struct LoopSettings {
  std::string phase = "training";  // what messages and log lines call it
  std::uint64_t seed = 0;
  std::int64_t epochs = 1;
  std::size_t batch_size = 32;    // of one forward pass
  std::int64_t accumulation = 1;  // forward passes to one step
  AdamW::Options adamw;
  double warm_up = 0.1;          // share of the steps
  double final_rate = 0.0;       // of the peak, at the end of the cosine
  double clip_norm = 1.0;        // 0: no clipping
  double average_decay = 0.0;    // of the moving average of weights; 0: none
  bool bf16 = false;             // products of linear layers in bfloat16
  at::Device device = at::kCPU;  // computed on
  std::string metric;            // of Trainable::evaluate(), larger is better; empty: keep the last
  bool smaller_is_better = false;
  std::int64_t evaluate_every = 1;    // epochs
  std::int64_t patience = 0;          // evaluations without gain before stopping; 0: never
  std::int64_t checkpoint_every = 0;  // steps; 0: at the end and when interrupted
  std::int64_t log_every = 10;        // steps
  double divergence_factor = 5.0;     // times the least smoothed loss so far ends the run; 0: never

  nlohmann::json to_json() const;
};

struct StepReport {
  std::int64_t step = 0;  // steps taken
  std::int64_t total_steps = 0;
  double epoch = 0;  // 1.5: half of the second is done
  double loss = 0;
  Metrics parts;
  double rate_factor = 0;    // of each group's peak
  double learning_rate = 0;  // the largest
  double gradient_norm = 0;  // before clipping
  double items_per_second = 0;
  double seconds_left = 0;
};

struct EvaluationReport {
  std::int64_t step = 0;
  double epoch = 0;
  Metrics metrics;
  bool is_best = false;
};

// Sees a run go by: a progress line, event files, a report. Called by the training thread.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void on_step(const LoopSettings& /*settings*/, const StepReport& /*report*/) {}
  virtual void on_evaluation(const LoopSettings& /*settings*/, const EvaluationReport& /*report*/) {
  }
};

struct RunPlace {
  std::filesystem::path directory;    // checkpoints and metrics.jsonl of this phase
  bool resume = false;                // go on from the newest checkpoint where there is one
  std::vector<Observer*> observers;   // of rank 0
  std::function<bool()> interrupted;  // asked after every step; may be empty
  ProcessGroup* group = nullptr;      // who trains together; none: this process alone
};

struct TrainingResult {
  enum class Ended { kCompleted, kStoppedEarly, kInterrupted };
  Ended ended = Ended::kCompleted;
  std::int64_t steps = 0;
  std::int64_t best_step = 0;
  Metrics metrics;          // of the weights that were kept
  double core_seconds = 0;  // processor time, of all threads and of the runs before a resume
};

// Trains, and leaves the modules with the weights to keep: the best evaluation's (averaged ones,
// where there is an average), or the last without a metric. One optimiser step after another:
// forward, backward, clip, step; evaluation at the end of epochs. The weights are a function of
// settings, data and the number of threads; not of interruptions. On another device than the CPU
// they are that only as far as its operators are: CUDA's sums of gathered rows are not to the bit.
// What is trained is moved there and, at the end, back to the CPU; not where it throws.
//
// In a group every rank calls it with the same settings, of which `batch_size` is that of all ranks
// together. Weights, evaluations and checkpoints are rank 0's, and all ranks end alike; without
// random masks (dropout), the weights are those of one process but for rounding.
//
// Throws Error: kNumerical where loss or gradient is NaN or infinite, or the loss diverges, naming
// step and samples; kInvalidArgument where a checkpoint was made with other settings, naming them.
TrainingResult train(Trainable& trainable, const LoopSettings& settings, const RunPlace& place);

}  // namespace bifocal::training
