#include "training/run.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <thread>

#include "bifocal/error.h"
#include "core/files.h"
#include "nn/precision.h"
#include "training/encoders.h"

namespace bifocal::training {

namespace fs = std::filesystem;

fs::path run_directory(const TrainConfig& config) {
  if (!config.run.empty()) return config.run;
  const fs::path out = fs::absolute(config.out).lexically_normal();
  return (out.has_filename() ? out : out.parent_path()).string() + ".training";
}

std::size_t thread_count(const TrainConfig& config) {
  if (config.threads > 0) return static_cast<std::size_t>(config.threads);
  return std::max(1u, std::thread::hardware_concurrency());
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
  settings.bf16 = config.bf16 == "on" ||
                  (config.bf16 == "auto" && nn::fastest_precision() == nn::Precision::kBf16);
  settings.evaluate_every = config.evaluate_every;
  settings.patience = config.patience;
  settings.checkpoint_every = config.checkpoint_every;
  settings.log_every = config.log_every;
  settings.divergence_factor = config.divergence_factor;
  return settings;
}

RunReport run_training(const TrainConfig& given, const RunOptions& options) {
  if (given.out.empty())
    throw Error(ErrorCode::kInvalidArgument, "out is missing: --out names the bundle to make");
  if (fs::exists(given.out) && !options.replace)
    throw Error(ErrorCode::kInvalidArgument,
                given.out + ": exists; choose another --out, or replace it with --force");
  const TrainConfig config = with_encoders_of_bundle(given);
  const fs::path run = run_directory(config);
  std::error_code failure;
  fs::create_directories(run, failure);
  if (failure)
    throw Error(ErrorCode::kIo, run.string() + ": cannot be made (" + failure.message() + ")");
  core::write_file_atomically(run / "config.json", to_json(given).dump(2) + "\n");
  at::set_num_threads(static_cast<int>(thread_count(config)));
  if (config.preset == "retrieval") return run_retrieval(config, options);
  if (config.preset == "contrasts") return run_contrasts(config, options);
  throw Error(ErrorCode::kUnsupported, "the preset " + config.preset + " cannot be run yet");
}

}  // namespace bifocal::training
