#include <memory>
#include <string>

#include "command.h"
#include "record_run.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal match --image cat.jpg --text "a sleeping cat"
  bifocal match --input pairs.jsonl > scores.jsonl

Writes {"id", "probability", "logit", "cosine"}: how likely the text belongs to the image, the
number that this is the sigmoid of, and the cosine of the image's and the text's own vectors. Every
item needs both sides. Exit code 65 where some records failed, each reported in its place.)";

void append_match(std::string& line, const Match& match) {
  line += "\"probability\":";
  append_number(line, match.probability);
  line += ",\"logit\":";
  append_number(line, match.logit);
  line += ",\"cosine\":";
  append_number(line, match.cosine);
}

int run(const RunOptions& options) {
  return run_records<Match>(options, [&options](const Model& model) {
    Service<Match> service;
    service.serve = [model](std::span<const Item> items) { return model.match(items); };
    service.writer = std::make_unique<JsonLinesWriter<Match>>(
        options.output, [&options](std::string& line, const Match& match) {
          append_match(line, match);
          if (!options.provenance) return;
          line += ",\"provenance\":";
          append_provenance(line, match.provenance);
        });
    return service;
  });
}

}  // namespace

Command add_match(CLI::App& root) {
  CLI::App* app = root.add_subcommand("match", "Say whether a text belongs to an image");
  app->footer(kFooter);
  auto options = std::make_shared<RunOptions>();
  add_run_options(*app, *options);
  return {app, [options] { return run(*options); }};
}

}  // namespace bifocal::cli
