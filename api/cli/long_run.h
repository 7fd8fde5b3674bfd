#pragma once

#include <cstddef>
#include <functional>

#include "interrupt.h"
#include "progress.h"

namespace bifocal::cli {

// A command's work that takes a while: a line says how far it is, and a signal calls it off. At
// most one at a time (Interrupt); the main thread's.
class LongRun {
 public:
  explicit LongRun(bool quiet) : progress_(!quiet, /*output_is_idle=*/true) {}

  // For work that tells how much is done of all, and ends with Error(kCancelled) on false. Lives no
  // longer than this.
  std::function<bool(std::size_t done, std::size_t all)> progress();
  // What `act` returns; the signal's exit code where one called it off.
  int run(const std::function<int()>& act) const;

 private:
  Interrupt interrupt_;
  Progress progress_;
};

}  // namespace bifocal::cli
