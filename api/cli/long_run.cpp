#include "long_run.h"

#include "bifocal/error.h"

namespace bifocal::cli {

std::function<bool(std::size_t, std::size_t)> LongRun::progress() {
  return [this](std::size_t done, std::size_t all) {
    progress_.show(done, static_cast<double>(done) / static_cast<double>(all));
    return !interrupt_.requested();
  };
}

int LongRun::run(const std::function<int()>& act) const {
  try {
    return act();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled && interrupt_.requested())
      return interrupt_.exit_code();
    throw;
  }
}

}  // namespace bifocal::cli
