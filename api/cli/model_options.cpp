#include "model_options.h"

#include <limits>
#include <string>

#include "choice.h"
#include "default_bundle.h"

namespace bifocal::cli {

void add_model_option(CLI::App& app, ModelOptions& options) {
  app.add_option("--model", options.bundle, "The bundle to use (default: see `bifocal --help`)")
      ->type_name("DIR")
      ->group("Model");
}

void add_thread_option(CLI::App& app, ModelOptions& options) {
  app.add_option_function<int>(
         "--threads",
         [&options](int threads) {
           if (threads < 0 || threads > 1024)
             throw CLI::ValidationError("--threads", "must be from 0 (all cores) to 1024");
           options.load.threads = threads;
         },
         "Worker threads; 0: one for each core")
      ->type_name("N")
      ->default_str("0")
      ->group("Model");
}

void add_sharing_option(CLI::App& app, ModelOptions& options) {
  app.add_option("--threads-per-worker", options.load.threads_per_worker,
                 "Threads that share a forward pass: a single item\ntakes less time")
      ->type_name("N")
      ->check(CLI::Range(1, 64))
      ->default_str("1")
      ->group("Model");
}

void add_precision_option(CLI::App& app, ModelOptions& options) {
  CLI::Option* option = add_choice<Precision>(
      app, "--precision", options.load.precision,
      {{"fp32", Precision::kFp32},
       {"bf16", Precision::kBf16},
       {"int8", Precision::kInt8},
       {"auto", Precision::kAuto}},
      "Compute in float32, or in bfloat16 where\nthe CPU is made for it; auto takes the faster;\n"
      "int8: layers of text and fusion in 8-bit\nintegers, for CPUs with AVX512-VNNI");
  option->group("Model");
  app.add_flag("--tune", options.load.tune,
               "Time this CPU's kernels anew; else what was found\nbefore is taken")
      ->group("Model");
}

void add_limit_options(CLI::App& app, ModelOptions& options) {
  const auto add = [&app]<typename T>(const char* name, T& limit, const char* description) {
    app.add_option_function<std::int64_t>(
           name,
           [name, &limit](std::int64_t value) {
             if (value < 1) throw CLI::ValidationError(name, "must be at least 1");
             limit = static_cast<T>(value);
           },
           description)
        ->type_name("N")
        ->default_str(std::to_string(limit))
        ->group("Limits");
  };
  add("--max-pixels", options.load.max_image_pixels, "Refuse images with more pixels");
  add("--max-bytes", options.load.max_image_bytes, "Refuse encoded images with more bytes");
  app.add_flag(
         "--scaled-decode", options.load.scaled_decode,
         "Decode large JPEGs at a fraction of their sides:\nfaster, and vectors differ a little")
      ->group("Model");
}

std::filesystem::path bundle_path(const ModelOptions& options) {
  return options.bundle.empty() ? find_default_bundle() : options.bundle;
}

Model load_model(const ModelOptions& options) {
  return Model::load(bundle_path(options), options.load);
}

}  // namespace bifocal::cli
