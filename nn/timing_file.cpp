#include "timing_file.h"

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/sha256.h"

namespace bifocal::nn {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr std::uintmax_t kMaxBytes = 1 << 20;
constexpr std::size_t kHashDigits = 16;

fs::path cache_directory() {
  if (const char* named = std::getenv("BIFOCAL_CACHE_DIR"); named != nullptr) return named;
  for (const auto& [variable, below] :
       {std::pair{"XDG_CACHE_HOME", "bifocal"}, std::pair{"HOME", ".cache/bifocal"}})
    if (const char* set = std::getenv(variable); set != nullptr && fs::path(set).is_absolute())
      return fs::path(set) / below;
  return {};
}

// The file's "timings"; empty where it is absent, damaged or of something else.
Json read(const fs::path& path, const std::string& timed) {
  try {
    Json file = Json::parse(core::read_text_file(path, kMaxBytes), nullptr, false);
    if (file.is_object() && file.value("timed", Json()) == timed && file["timings"].is_object())
      return std::move(file["timings"]);
  } catch (const Error&) {  // not there
  }
  return Json::object();
}

}  // namespace

TimingFile::TimingFile(std::string timed) : timed_(std::move(timed)) {
  const fs::path directory = cache_directory();
  if (directory.empty()) return;
  const std::string hash = core::sha256_hex(core::as_bytes(timed_)).substr(0, kHashDigits);
  path_ = directory / ("kernels-" + hash + ".json");
}

std::optional<Timing> TimingFile::find(const std::string& product) const {
  if (path_.empty()) return std::nullopt;
  const Json timings = read(path_, timed_);
  const auto found = timings.find(product);
  if (found == timings.end() || !found->is_object()) return std::nullopt;
  const Json name = found->value("kernels", Json()), seconds = found->value("seconds", Json());
  if (!name.is_string() || !seconds.is_number()) return std::nullopt;
  const Timing timing{name.get<std::string>(), seconds.get<double>()};
  return timing.seconds > 0 && std::isfinite(timing.seconds) ? std::optional(timing) : std::nullopt;
}

void TimingFile::add(const std::string& product, const Timing& timing) {
  if (path_.empty()) return;
  Json timings = read(path_, timed_);
  timings[product] = {{"kernels", timing.kernels}, {"seconds", timing.seconds}};
  const Json file = {{"timed", timed_}, {"timings", std::move(timings)}};
  std::error_code ignored;
  fs::create_directories(path_.parent_path(), ignored);
  try {
    core::write_file_atomically(path_, file.dump(2) + "\n");
  } catch (const Error&) {  // a read-only home or a full disk: the next process times again
  }
}

void TimingFile::remove() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove(path_, ignored);
}

}  // namespace bifocal::nn
