#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

namespace bifocal::cli {

// A line on standard error that says how far a long run is. Only where a person watches: where
// standard error is a terminal, and standard output, whose lines it would cut up, is none or idle.
class Progress {
 public:
  // `output_is_idle`: nothing goes to standard output meanwhile.
  Progress(bool wanted, bool output_is_idle);
  ~Progress();  // wipes the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `fraction` from 0 to 1, where the end is known.
  void show(std::size_t done, std::optional<double> fraction);

 private:
  bool visible_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace bifocal::cli
