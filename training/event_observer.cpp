#include "training/event_observer.h"

#include <algorithm>
#include <string>

namespace bifocal::training {
namespace {

std::string prefix(const LoopSettings& settings) {
  std::string phase = settings.phase;
  std::replace(phase.begin(), phase.end(), ' ', '_');
  return phase + "/";
}

}  // namespace

void EventObserver::on_step(const LoopSettings& settings, const StepReport& report) {
  if (report.step % settings.log_every != 0 && report.step != report.total_steps) return;
  const std::string phase = prefix(settings);
  events_.add_scalar(phase + "loss", report.loss, report.step);
  events_.add_scalar(phase + "learning_rate", report.learning_rate, report.step);
  events_.add_scalar(phase + "gradient_norm", report.gradient_norm, report.step);
  for (const auto& [name, value] : report.parts)
    events_.add_scalar(phase + "loss/" + name, value, report.step);
}

void EventObserver::on_evaluation(const LoopSettings& settings, const EvaluationReport& report) {
  for (const auto& [name, value] : report.metrics)
    events_.add_scalar(prefix(settings) + "validation/" + name, value, report.step);
}

}  // namespace bifocal::training
