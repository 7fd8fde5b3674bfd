#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "choice.h"
#include "command.h"
#include "embedding_writer.h"
#include "record_run.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  bifocal embed --image cat.jpg                            an image
  bifocal embed --image cat.jpg --text "a sleeping cat"    both, fused into one vector
  bifocal embed --input items.jsonl > vectors.jsonl        many
  bifocal embed --input items.jsonl --as image             only the image of each
  producer | bifocal embed --input - | consumer            in a pipe
  bifocal embed --input items.jsonl --output vectors.npy   a NumPy matrix; the ids, and why a
                                                           row is NaN, in vectors.npy.ids.jsonl

Every vector has length 1: the dot product of two is their similarity. A record that fails is
reported in its place, {"id", "error": {"code", "message"}}, and the others are done; the exit code
is then 65. A path in the input is seen from the input's directory; an image may also be a data URI.
A record without an id is called by its line's number.)";

struct EmbedCommand {
  RunOptions run;
  EmbedOptions embed;
  EmbeddingFormat format = EmbeddingFormat::kByName;
};

int run(const EmbedCommand& command) {
  return run_records<Embedding>(command.run, [&command](const Model& model) {
    Service<Embedding> service;
    service.serve = [&command, model](std::span<const Item> items) {
      return model.embed(items, command.embed);
    };
    service.writer =
        make_embedding_writer(command.run.output, command.format, command.run.provenance,
                              static_cast<std::size_t>(model.info().embedding_size));
    return service;
  });
}

}  // namespace

Command add_embed(CLI::App& root) {
  CLI::App* app = root.add_subcommand("embed", "Make a vector of an image, a text, or both");
  app->footer(kFooter);
  auto command = std::make_shared<EmbedCommand>();
  add_run_options(*app, command->run);
  add_choice<Side>(*app, "--as", command->embed.side,
                   {{"fused", Side::kFused}, {"image", Side::kImage}, {"text", Side::kText}},
                   "Which side of an item counts; fused takes what is there");
  add_choice<LongText>(*app, "--long-text", command->embed.long_text,
                       {{"truncate", LongText::kTruncate}, {"windows", LongText::kWindows}},
                       "Text longer than the model reads: keep its beginning, or\n"
                       "average all its windows");
  add_choice<EmbeddingFormat>(*app, "--format", command->format,
                              {{"auto", EmbeddingFormat::kByName},
                               {"jsonl", EmbeddingFormat::kJsonLines},
                               {"npy", EmbeddingFormat::kNpy}},
                              "How to write; auto goes by the name of --output");
  return {app, [command] { return run(*command); }};
}

}  // namespace bifocal::cli
