#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace bifocal::cli {
namespace {

constexpr std::size_t kBarWidth = 30;
constexpr const char* kWipeLine = "\r\033[K";

std::string bar(double fraction) {
  const auto filled = static_cast<std::size_t>(std::clamp(fraction, 0.0, 1.0) * kBarWidth);
  std::string drawn(filled, '#');
  drawn.append(kBarWidth - filled, '.');
  return drawn;
}

}  // namespace

Progress::Progress(bool wanted, bool output_is_idle)
    : visible_(wanted && ::isatty(STDERR_FILENO) == 1 &&
               (output_is_idle || ::isatty(STDOUT_FILENO) == 0)),
      started_(std::chrono::steady_clock::now()) {
  show(0, std::nullopt);
}

Progress::~Progress() {
  if (visible_) std::fputs(kWipeLine, stderr);
}

void Progress::show(std::size_t done, std::optional<double> fraction) {
  if (!visible_) return;
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - started_;
  const double rate = static_cast<double>(done) / std::max(elapsed.count(), 1e-3);
  if (fraction)
    std::fprintf(stderr, "%s[%s] %3.0f %%  %zu items, %.1f a second", kWipeLine,
                 bar(*fraction).c_str(), *fraction * 100, done, rate);
  else
    std::fprintf(stderr, "%s%zu items, %.1f a second", kWipeLine, done, rate);
  std::fflush(stderr);
}

}  // namespace bifocal::cli
