#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>

#include "bifocal/model.h"
#include "bifocal/options.h"

namespace bifocal::cli {

// Which bundle, and how it is loaded.
struct ModelOptions {
  std::filesystem::path bundle;  // empty: the default one
  LoadOptions load;
};

// --model
void add_model_option(CLI::App& app, ModelOptions& options);
// --threads, for the commands that compute
void add_thread_option(CLI::App& app, ModelOptions& options);
// --threads-per-worker, for those of them that an Engine serves
void add_sharing_option(CLI::App& app, ModelOptions& options);
// --precision, for the same
void add_precision_option(CLI::App& app, ModelOptions& options);
// --max-pixels and --max-bytes, for those that decode images
void add_limit_options(CLI::App& app, ModelOptions& options);

// What --model says, or the default bundle. Throws Error(kNotFound).
std::filesystem::path bundle_path(const ModelOptions& options);
Model load_model(const ModelOptions& options);

}  // namespace bifocal::cli
