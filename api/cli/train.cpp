#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "default_bundle.h"
#include "interrupt.h"
#include "output.h"
#include "training/run.h"
#include "training/train_config.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal train --preset classify --data items.csv --out mine         image, text or both; a label
  bifocal train --preset finetune-image --data photos --out mine      a class a folder
  bifocal train --preset retrieval --data train.jsonl --validation dev.jsonl
                --vision efficientnet-lite0 --text minilm --out mine
  bifocal train --config mine.training/config.json --out mine --resume
  bifocal train --settings-table

Data is JSONL, CSV, a tar or a directory. Classes begin with the default bundle, unless
--from-bundle or --vision and --text name others. A run keeps its checkpoints, log, resolved config
and report.html in OUT.training; Ctrl-C saves, and --resume goes on, to the same weights to the last
bit. Flags count more than the file of --config, that more than the preset.)";

struct TrainOptions {
  std::map<std::string, nlohmann::json> values;  // by key, as given
  std::string file;
  bool resume = false, force = false, table = false, schema = false;
};

// A step frees what the next one asks for again. glibc gives it back to the kernel in between,
// which hands it out a page at a time: a sixth of a fine-tuning step's processor time.
void keep_freed_memory() {
  constexpr int kLargestThreshold = 32 << 20;  // that glibc takes, in bytes
  ::mallopt(M_MMAP_THRESHOLD, kLargestThreshold);
  ::mallopt(M_TRIM_THRESHOLD, -1);  // never
}

// Where a person watches, one line that is written over; elsewhere a line an evaluation.
class ProgressLine : public training::Observer {
 public:
  ~ProgressLine() override { wipe(); }

  void on_step(const training::LoopSettings& settings,
               const training::StepReport& report) override {
    if (!is_terminal_) return;
    const auto left = static_cast<long>(report.seconds_left);
    std::fprintf(stderr,
                 "\r\033[K%s: step %lld of %lld, epoch %.1f, loss %.4f, rate %.2g, %.0f items a "
                 "second, %ld:%02ld left",
                 settings.phase.c_str(), static_cast<long long>(report.step),
                 static_cast<long long>(report.total_steps), report.epoch, report.loss,
                 report.learning_rate, report.items_per_second, left / 60, left % 60);
    std::fflush(stderr);
  }

  void on_evaluation(const training::LoopSettings& settings,
                     const training::EvaluationReport& report) override {
    wipe();
    std::fprintf(stderr, "%s: epoch %.0f:", settings.phase.c_str(), report.epoch);
    for (const auto& [name, value] : report.metrics)
      std::fprintf(stderr, " %s %.2f", name.c_str(), value);
    std::fprintf(stderr, "%s\n", report.is_best ? " (best so far)" : "");
  }

  void encoded(std::size_t done, std::size_t all) {
    if (!is_terminal_) return;
    std::fprintf(stderr, "\r\033[Kencoding: %zu of %zu", done, all);
    std::fflush(stderr);
  }

  void say(const std::string& line) {
    wipe();
    std::cerr << "bifocal: " << line << std::endl;
  }

 private:
  void wipe() {
    if (is_terminal_) std::fputs("\r\033[K", stderr);
  }

  bool is_terminal_ = ::isatty(STDERR_FILENO) == 1;
};

int run_train(const TrainOptions& given) {
  if (given.table || given.schema) {
    print(given.table ? training::train_config_markdown()
                      : training::train_config_schema().dump(2) + "\n");
    return 0;
  }
  training::TrainConfig config = training::read_train_config(given.file, given.values);
  if (config.preset != "retrieval" && config.from_bundle.empty() && config.vision.empty() &&
      config.text.empty())
    config.from_bundle = find_default_bundle().string();
  const Interrupt interrupt;
  ProgressLine progress;
  training::RunOptions options;
  options.resume = given.resume;
  options.replace = given.force;
  options.observers = {&progress};
  const auto group = training::ProcessGroup::from_environment();
  options.group = group.get();
  options.interrupted = [&interrupt] { return interrupt.requested(); };
  options.say = [&progress](const std::string& line) { progress.say(line); };
  options.encoding = [&progress](std::size_t done, std::size_t all) {
    progress.encoded(done, all);
  };
  keep_freed_memory();
  const training::RunReport report = training::run_training(config, options);
  if (!group->is_first()) return report.interrupted ? interrupt.exit_code() : 0;
  if (report.interrupted) {
    progress.say("saved in " + training::run_directory(config).string() +
                 "; the same command with --resume goes on");
    return interrupt.exit_code();
  }
  progress.say(config.out + " is ready; `bifocal inspect --model " + config.out +
               "` says what is in it, " +
               (training::run_directory(config) / "report.html").string() + " how it went");
  return 0;
}

}  // namespace

Command add_train(CLI::App& root) {
  CLI::App* app = root.add_subcommand("train", "Train a model on your own data");
  app->footer(kFooter);
  auto options = std::make_shared<TrainOptions>();
  app->add_option("--config", options->file, "A JSON file of settings (see --schema)")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  app->add_flag("--resume", options->resume, "Go on with an interrupted run");
  app->add_flag("--force", options->force, "Replace --out where it exists");
  app->add_flag("--settings-table", options->table, "Print every setting as Markdown, and exit");
  app->add_flag("--schema", options->schema, "Print the JSON Schema of --config, and exit");
  const training::TrainConfig defaults;
  for (const training::TrainConfigKey& key : training::train_config_keys()) {
    auto* option = app->add_option(
                          "--" + key.flag(),
                          [options, &key](const CLI::results_t& words) {
                            options->values[key.name] = key.parse(words);
                            return true;
                          },
                          key.meaning + " [" + key.takes() + "]")
                       ->type_name("")
                       ->group(key.group)
                       ->expected(1);
    option->multi_option_policy(key.schema.at("type") == "array"
                                    ? CLI::MultiOptionPolicy::TakeAll
                                    : CLI::MultiOptionPolicy::TakeLast);
    const nlohmann::json shown = key.get(defaults);
    if (!shown.is_string())
      option->default_str(shown.dump());
    else if (!shown.get<std::string>().empty())
      option->default_str(shown.get<std::string>());
  }
  return {app, [options] { return run_train(*options); }};
}

}  // namespace bifocal::cli
