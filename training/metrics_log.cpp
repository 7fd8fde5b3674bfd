#include "training/metrics_log.h"

#include <string>

#include "bifocal/error.h"
#include "core/files.h"

namespace bifocal::training {
namespace {

// The last line may be cut short: the process was killed while it wrote.
std::string lines_up_to(const std::filesystem::path& path, std::int64_t step) {
  std::ifstream file(path);
  std::string kept;
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.value("step", std::int64_t{0}) <= step) kept += line + "\n";
  }
  return kept;
}

}  // namespace

MetricsLog::MetricsLog(const std::filesystem::path& path, std::int64_t step) {
  const std::string kept = step > 0 ? lines_up_to(path, step) : std::string();
  core::write_file_atomically(path, kept);
  file_.open(path, std::ios::app);
  if (!file_) throw Error(ErrorCode::kIo, path.string() + ": cannot be written");
}

void MetricsLog::write(const nlohmann::json& line) {
  file_.clear();
  file_ << line.dump() << std::endl;
}

}  // namespace bifocal::training
