#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "command.h"
#include "long_run.h"
#include "output.h"
#include "training/record_writer.h"
#include "training/scenes/scene.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal scenes --out scenes                       8000 scenes to train on, 800 and 800 to measure
  bifocal train --preset contrasts --data scenes ...
  bifocal evaluate --model mine --data scenes --split test --controls scenes/train.jsonl

Each picture has four to seven coloured shapes and, of each kind, a sentence that is true of it and
one that is not: what is there, how many, of the same colour, on which side, left of, above. Neither
sentence nor picture alone tells which. The test scenes show layouts and combinations of colour and
shape that the others never have. Writes SPLIT.jsonl and SPLIT.tar; the same for the same seed.)";

struct ScenesCommand {
  std::filesystem::path out;
  std::size_t count = 8000;
  std::size_t held_out = 0;
  std::uint64_t seed = 1;
  bool force = false, quiet = false;
};

int run(const ScenesCommand& command) {
  using training::SceneSplit;
  require_new_directory(command.out, command.force);
  const std::size_t held_out =
      command.held_out > 0 ? command.held_out : std::max<std::size_t>(command.count / 10, 1);
  LongRun work(command.quiet);
  return work.run([&] {
    for (const SceneSplit split :
         {SceneSplit::kTrain, SceneSplit::kValidation, SceneSplit::kTest}) {
      const auto records = training::scene_records(
          split, command.seed, split == SceneSplit::kTrain ? command.count : held_out);
      const std::string name(name_of(split));
      training::write_records(records, command.out / (name + ".jsonl"), /*with_images=*/true,
                              work.progress());
    }
    return 0;
  });
}

}  // namespace

Command add_scenes(CLI::App& root) {
  CLI::App* app = root.add_subcommand(
      "scenes", "Draw pictures with true and false sentences, to train and measure on");
  app->footer(kFooter);
  auto command = std::make_shared<ScenesCommand>();
  app->add_option("--out", command->out, "The directory to make")->type_name("DIR")->required();
  app->add_option("--count", command->count, "Scenes to train on")
      ->check(CLI::Range(std::size_t{1}, std::size_t{10'000'000}))
      ->type_name("N")
      ->default_str("8000");
  app->add_option("--held-out", command->held_out,
                  "Scenes of validation, and of test; 0: a tenth of\n--count")
      ->type_name("N")
      ->default_str("0");
  app->add_option("--seed", command->seed, "What every random number is drawn from")
      ->type_name("N")
      ->default_str("1");
  app->add_flag("--force", command->force, "Write into --out where it exists");
  app->add_flag("--quiet", command->quiet, "No progress");
  return {app, [command] { return run(*command); }};
}

}  // namespace bifocal::cli
