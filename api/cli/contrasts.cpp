#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bifocal/error.h"
#include "command.h"
#include "long_run.h"
#include "output.h"
#include "text/bert_checkpoint.h"
#include "text/tokenizer.h"
#include "training/captions/edited_captions.h"
#include "training/feature_cache.h"
#include "training/record_writer.h"
#include "training/records.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal contrasts --data flickr8k/train.jsonl --validation flickr8k/dev.jsonl --text minilm \
                    --out edited
  bifocal train --preset contrasts --data edited ...
  bifocal evaluate --data edited --split validation --controls edited/train.jsonl

Of each caption one word is exchanged for another of its kind (colour, number, animal, gender,
place, action), or two nouns are swapped. Pairs that the words alone give away are filtered out,
until a text-only model that took no part in it is hardly right more often than by chance: a model
of word n-grams, and with --text one on that encoder's vectors, which sees more. Nothing is learned
from the words of --validation. English captions. Writes SPLIT.jsonl and SPLIT.tar, with all
pictures and captions: `bifocal train --preset retrieval --contrast-weight 1` learns from both.)";

struct ContrastsCommand {
  std::filesystem::path data, validation, text, out;
  std::uint64_t seed = 1;
  double most_text_only = 53;
  std::size_t threads = 0;
  bool force = false, quiet = false;
};

std::string table(const training::EditedCaptions& edited) {
  std::string text = "Pairs of the validation set, and how often a text-only model is right\n\n";
  char line[160];
  std::snprintf(line, sizeof line, "%-14s %8s %10s %8s %10s\n", "kind", "found", "text only",
                "kept", "text only");
  text += line;
  for (const training::EditedCaptions::Row& row : edited.rows) {
    std::snprintf(line, sizeof line, "%-14s %8zu %10.1f %8zu %10.1f\n", row.kind.c_str(), row.found,
                  row.text_only_found, row.kept, row.text_only_kept);
    text += line;
  }
  return text;
}

// Of the encoder in --text; null without one.
std::shared_ptr<training::TextVectors> text_vectors(const ContrastsCommand& command,
                                                    LongRun& work) {
  if (command.text.empty()) return nullptr;
  const text::Bert tower = text::load_bert(command.text);
  const std::shared_ptr<const text::Tokenizer> tokenizer = text::load_tokenizer(command.text);
  training::EncodingOptions options;
  options.threads = command.threads > 0 ? command.threads : std::thread::hardware_concurrency();
  options.progress = [tell = work.progress()](std::size_t done, std::size_t all) {
    if (!tell(done, all)) throw Error(ErrorCode::kCancelled, "called off");
  };
  return std::make_shared<training::TextVectors>(
      [tower, tokenizer, options](const std::vector<std::string>& texts) {
        return training::pooled_captions(texts, tower, *tokenizer, options);
      });
}

int run(const ContrastsCommand& command) {
  require_new_directory(command.out, command.force);
  LongRun work(command.quiet);
  const auto train = training::RecordSet::open(command.data).grouped_by_image();
  const auto validation = training::RecordSet::open(command.validation).grouped_by_image();
  const char* names[] = {"train.jsonl", "validation.jsonl"};
  return work.run([&] {
    const training::EditedCaptions edited = training::edit_captions(
        train, validation, command.seed, command.most_text_only, text_vectors(command, work));
    print(table(edited));
    for (std::size_t s = 0; s < edited.sets.size(); ++s)
      training::write_records(edited.sets[s], command.out / names[s], /*with_images=*/true,
                              work.progress());
    return 0;
  });
}

}  // namespace

Command add_contrasts(CLI::App& root) {
  CLI::App* app =
      root.add_subcommand("contrasts", "Make false captions that differ from true ones in a word");
  app->footer(kFooter);
  auto command = std::make_shared<ContrastsCommand>();
  app->add_option("--data", command->data, "Images with captions, to train on")
      ->type_name("FILE")
      ->required();
  app->add_option("--validation", command->validation, "Images with captions, to measure on")
      ->type_name("FILE")
      ->required();
  app->add_option("--text", command->text,
                  "A text encoder's directory, to filter by what it knows too")
      ->type_name("DIR");
  app->add_option("--threads", command->threads, "Threads that encode; 0: one for each core")
      ->type_name("N")
      ->default_str("0");
  app->add_option("--out", command->out, "The directory to make")->type_name("DIR")->required();
  app->add_option("--most-text-only", command->most_text_only,
                  "Filter until a text-only model is right in less than\nso many of 100 pairs")
      ->check(CLI::Range(50.0, 100.0))
      ->type_name("PERCENT")
      ->default_str("53");
  app->add_option("--seed", command->seed, "What every random number is drawn from")
      ->type_name("N")
      ->default_str("1");
  app->add_flag("--force", command->force, "Write into --out where it exists");
  app->add_flag("--quiet", command->quiet, "No progress");
  return {app, [command] { return run(*command); }};
}

}  // namespace bifocal::cli
