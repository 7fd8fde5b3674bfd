#include <memory>
#include <string>

#include "choice.h"
#include "command.h"
#include "record_run.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal classify --model mine --image shoe.jpg --text "red, size 42"
  bifocal classify --model mine --input items.jsonl --labels category --top-k 3

Needs a bundle with a class head; `bifocal inspect` lists the label sets of one. Writes {"id",
"label_set", "scores": [{"label", "score"}]}, best first, a score being a probability. Exit code 65
where some records failed, each reported in its place.)";

struct ClassifyCommand {
  RunOptions run;
  ClassifyOptions classify;
};

void append_classification(std::string& line, const Classification& classification) {
  line += "\"label_set\":";
  append_json(line, classification.label_set);
  line += ",\"scores\":[";
  for (const LabelScore& score : classification.scores) {
    if (&score != &classification.scores.front()) line += ',';
    line += "{\"label\":";
    append_json(line, score.label);
    line += ",\"score\":";
    append_number(line, score.score);
    line += '}';
  }
  line += ']';
}

int run(const ClassifyCommand& command) {
  return run_records<Classification>(command.run, [&command](const Model& model) {
    // An unknown label set fails the command before its output is touched, not each item.
    model.classify(std::span<const Item>(), command.classify);
    Service<Classification> service;
    service.serve = [&command, model](std::span<const Item> items) {
      return model.classify(items, command.classify);
    };
    service.writer = std::make_unique<JsonLinesWriter<Classification>>(
        command.run.output, [&command](std::string& line, const Classification& classification) {
          append_classification(line, classification);
          if (!command.run.provenance) return;
          line += ",\"provenance\":";
          append_provenance(line, classification.provenance);
        });
    return service;
  });
}

}  // namespace

Command add_classify(CLI::App& root) {
  CLI::App* app = root.add_subcommand("classify", "Score an item against a set of labels");
  app->footer(kFooter);
  auto command = std::make_shared<ClassifyCommand>();
  add_run_options(*app, command->run);
  app->add_option("--labels", command->classify.label_set,
                  "The label set; may be left out where the bundle has one only")
      ->type_name("SET");
  app->add_option("--top-k", command->classify.top_k, "How many labels to write; 0: all")
      ->type_name("N")
      ->default_str(std::to_string(command->classify.top_k));
  add_choice<Side>(*app, "--as", command->classify.side,
                   {{"fused", Side::kFused}, {"image", Side::kImage}, {"text", Side::kText}},
                   "Which side of an item counts; fused takes what is there");
  return {app, [command] { return run(*command); }};
}

}  // namespace bifocal::cli
