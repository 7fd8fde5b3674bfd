#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace bifocal::cli {

// One command of the program: where CLI11 keeps its options, and what it does once these are read.
// run() returns the exit code and throws Error, or BrokenPipe.
struct Command {
  CLI::App* app;
  std::function<int()> run;
};

Command add_embed(CLI::App& root);
Command add_classify(CLI::App& root);
Command add_match(CLI::App& root);
Command add_tokenize(CLI::App& root);
Command add_inspect(CLI::App& root);
Command add_bundle(CLI::App& root);
Command add_evaluate(CLI::App& root);
Command add_serve(CLI::App& root);
Command add_train(CLI::App& root);
Command add_contrasts(CLI::App& root);
Command add_scenes(CLI::App& root);
Command add_completion(CLI::App& root);

}  // namespace bifocal::cli
