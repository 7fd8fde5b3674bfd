#pragma once

#include <filesystem>

#include "training/event_file.h"
#include "training/trainer.h"

namespace bifocal::training {

// Writes what happens for TensorBoard: "PHASE/loss", "PHASE/learning_rate", "PHASE/gradient_norm"
// and the loss's parts each `log_every` steps, "PHASE/validation/METRIC" at each evaluation; spaces
// of a phase as underscores.
class EventObserver : public Observer {
 public:
  // Throws Error(kIo).
  explicit EventObserver(const std::filesystem::path& directory) : events_(directory) {}

  void on_step(const LoopSettings& settings, const StepReport& report) override;
  void on_evaluation(const LoopSettings& settings, const EvaluationReport& report) override;

 private:
  EventFile events_;
};

}  // namespace bifocal::training
