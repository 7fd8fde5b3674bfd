#include "training/run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <thread>

#include "bifocal/error.h"
#include "core/files.h"
#include "nn/precision.h"
#include "training/device.h"
#include "training/encoders.h"
#include "training/event_observer.h"
#include "training/model_card.h"
#include "training/report.h"

namespace bifocal::training {

namespace fs = std::filesystem;

fs::path run_directory(const TrainConfig& config) {
  if (!config.run.empty()) return config.run;
  const fs::path out = fs::absolute(config.out).lexically_normal();
  return (out.has_filename() ? out : out.parent_path()).string() + ".training";
}

std::size_t thread_count(const TrainConfig& config) {
  if (config.threads > 0) return static_cast<std::size_t>(config.threads);
  // Ranks on one machine share its cores; torchrun says how many there are.
  const char* ranks_here = std::getenv("LOCAL_WORLD_SIZE");
  const unsigned ranks = ranks_here == nullptr ? 1 : std::max(1, std::atoi(ranks_here));
  return std::max(1u, std::thread::hardware_concurrency() / ranks);
}

LoopSettings loop_settings(const TrainConfig& config, const std::string& phase) {
  LoopSettings settings;
  settings.phase = phase;
  settings.seed = static_cast<std::uint64_t>(config.seed);
  settings.epochs = config.epochs;
  settings.batch_size = static_cast<std::size_t>(config.batch_size);
  settings.accumulation = config.accumulation;
  settings.adamw.beta1 = config.beta1;
  settings.adamw.beta2 = config.beta2;
  settings.warm_up = config.warm_up;
  settings.final_rate = config.final_rate;
  settings.clip_norm = config.clip_norm;
  settings.average_decay = config.average_decay;
  settings.device = device_named(config.device);
  settings.bf16 = config.bf16 == "on" || (config.bf16 == "auto" && settings.device.is_cpu() &&
                                          nn::fastest_precision() == nn::Precision::kBf16);
  settings.evaluate_every = config.evaluate_every;
  settings.patience = config.patience;
  settings.checkpoint_every = config.checkpoint_every;
  settings.log_every = config.log_every;
  settings.divergence_factor = config.divergence_factor;
  return settings;
}

RunReport run_training(const TrainConfig& given, const RunOptions& asked) {
  ProcessGroup alone;
  RunOptions options = asked;
  if (options.group == nullptr) options.group = &alone;
  if (!options.group->is_first()) options.say = nullptr;
  if (given.out.empty())
    throw Error(ErrorCode::kInvalidArgument, "out is missing: --out names the bundle to make");
  if (fs::exists(given.out) && !options.replace)
    throw Error(ErrorCode::kInvalidArgument,
                given.out + ": exists; choose another --out, or replace it with --force");
  device_named(given.device);  // said before hours of encoding
  const TrainConfig config = with_encoders_of_bundle(given);
  const fs::path run = run_directory(config);
  std::error_code failure;
  fs::create_directories(run, failure);
  if (failure)
    throw Error(ErrorCode::kIo, run.string() + ": cannot be made (" + failure.message() + ")");
  if (options.group->is_first())
    core::write_file_atomically(run / "config.json", to_json(given).dump(2) + "\n");
  at::set_num_threads(static_cast<int>(thread_count(config)));
  std::optional<EventObserver> events;
  if (options.group->is_first())
    options.observers.push_back(&events.emplace(run / "events"));
  else
    options.observers.clear();
  const auto run_preset = config.preset == "retrieval"   ? run_retrieval
                          : config.preset == "contrasts" ? run_contrasts
                                                         : run_classes;
  RunReport report = run_preset(config, options);
  if (!report.interrupted && options.group->is_first())
    write_report(run, bundle_name(config), report.logs, report.lines);
  return report;
}

}  // namespace bifocal::training
