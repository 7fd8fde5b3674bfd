#include "training/checkpoint.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "bifocal/error.h"
#include "core/files.h"
#include "core/json_config.h"
#include "core/safetensors.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
constexpr std::size_t kKept = 2;

struct Part {
  const char* file;
  nn::StateDict Checkpoint::*weights;
};
constexpr std::array kParts = {Part{"weights.safetensors", &Checkpoint::weights},
                               Part{"optimizer.safetensors", &Checkpoint::optimizer},
                               Part{"average.safetensors", &Checkpoint::average},
                               Part{"best.safetensors", &Checkpoint::best}};

[[noreturn]] void fail(const fs::path& path, const std::error_code& why) {
  throw Error(ErrorCode::kIo,
              path.string() + ": the checkpoint cannot be saved (" + why.message() + ")");
}

// Step and path of each whole checkpoint, the newest first.
std::vector<std::pair<std::int64_t, fs::path>> list(const fs::path& directory) {
  std::vector<std::pair<std::int64_t, fs::path>> found;
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator(directory, absent)) {
    const std::string name = entry.path().filename().string();
    const bool is_step = name.starts_with(kPrefix) && name.size() > kPrefix.size() &&
                         name.find_first_not_of("0123456789", kPrefix.size()) == std::string::npos;
    if (is_step && fs::exists(entry.path() / "checkpoint.json"))
      found.emplace_back(std::stoll(name.substr(kPrefix.size())), entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

// A rename is on the disk once its directory is.
void sync_directory(const fs::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  ::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace

void save_checkpoint(const fs::path& directory, const Checkpoint& checkpoint) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "step-%08lld", static_cast<long long>(checkpoint.step));
  const fs::path target = directory / name.data();
  const fs::path partial = target.string() + ".partial";
  std::error_code failure;
  fs::remove_all(partial, failure);
  fs::create_directories(partial, failure);
  if (failure) fail(partial, failure);
  try {
    for (const Part& part : kParts)
      if (!(checkpoint.*part.weights).empty())
        nn::write_state_dict(partial / part.file, checkpoint.*part.weights, core::DType::kF32);
    const nlohmann::json document = {{"format_version", 1},
                                     {"step", checkpoint.step},
                                     {"progress", checkpoint.progress},
                                     {"settings", checkpoint.settings}};
    core::write_file_atomically(partial / "checkpoint.json", document.dump(2) + "\n");
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    throw;
  }
  sync_directory(partial);
  fs::remove_all(target, failure);
  fs::rename(partial, target, failure);
  if (failure) fail(target, failure);
  sync_directory(directory);
  const auto kept = list(directory);
  for (std::size_t i = kKept; i < kept.size(); ++i) {
    std::error_code ignored;
    fs::remove_all(kept[i].second, ignored);
  }
}

std::optional<Checkpoint> load_newest_checkpoint(const fs::path& directory) {
  const auto found = list(directory);
  if (found.empty()) return std::nullopt;
  const fs::path& path = found.front().second;
  const core::JsonConfig document = core::JsonConfig::read(path / "checkpoint.json");
  if (document.integer("format_version", 1, 1'000'000) > 1)
    throw Error(ErrorCode::kUnsupported,
                document.source() + ": was saved by a newer Bifocal; go on with that");
  Checkpoint checkpoint;
  checkpoint.step = document.integer("step", 0, std::int64_t{1} << 53);
  checkpoint.progress = document.child("progress").json();
  checkpoint.settings = document.child("settings").json();
  for (const Part& part : kParts)
    if (fs::exists(path / part.file))
      checkpoint.*part.weights = nn::read_state_dict(core::Safetensors::open(path / part.file));
  return checkpoint;
}

}  // namespace bifocal::training
