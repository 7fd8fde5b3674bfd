#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string_view>
#include <vector>

#include "bifocal/error.h"
#include "bifocal/version.h"
#include "command.h"
#include "output.h"
#include "usage_error.h"

namespace bifocal::cli {
namespace {

constexpr const char* kVersion = "bifocal " BIFOCAL_VERSION " (LibTorch " TORCH_VERSION ")";

constexpr const char* kFooter = R"(Examples:
  bifocal embed --image cat.jpg --text "a sleeping cat"    one vector for both together
  bifocal embed --input items.jsonl --output vectors.npy   many at once
  bifocal match --image cat.jpg --text "a sleeping cat"    do they belong together?
  bifocal inspect                                          what is in the model
  bifocal serve                                            answer over HTTP
  bifocal train --preset retrieval --data mine.jsonl ...   a model of your own

Every command reads a bundle: the one that --model names, else ../bundles/default or
../share/bifocal/bundles/default as seen from this program, else $BIFOCAL_MODEL.

Exit codes: 0 all done; 64 wrong usage; 65 bad data, or some records of many failed; 66 not found;
69 not supported; 70 a bug; 74 reading or writing failed; 78 a broken bundle; 130 interrupted.)";

int complain(const Error& error, bool debug) {
  std::cerr << "bifocal: " << error.what() << '\n';
  if (debug && !error.detail().empty()) std::cerr << "  detail: " << error.detail() << '\n';
  return traits(error.code()).exit_code;
}

int parse_and_run(int argc, char** argv, bool& debug) {
  CLI::App root("One vector for a picture, a text, or both together.", "bifocal");
  root.get_formatter()->column_width(34);
  root.get_formatter()->label("SUBCOMMAND", "COMMAND");
  root.set_help_flag("-h,--help", "Print this help and exit");
  root.set_version_flag("--version", kVersion, "Print the version and exit");
  root.add_flag("--debug", debug, "Add the details of an error, for a bug report");
  root.fallthrough();
  root.require_subcommand(0, 1);
  const std::vector<Command> commands = {
      add_embed(root),    add_classify(root), add_match(root),     add_tokenize(root),
      add_inspect(root),  add_bundle(root),   add_serve(root),     add_train(root),
      add_evaluate(root), add_scenes(root),   add_contrasts(root), add_completion(root)};
  root.footer(kFooter);  // after the commands, which would inherit it

  try {
    root.parse(argc, argv);
  } catch (const CLI::CallForVersion& version) {
    print(std::string(version.what()) + "\n");
    return 0;
  } catch (const CLI::CallForHelp&) {
    print(root.help());
    return 0;
  } catch (const CLI::ParseError& error) {
    return complain(Error(ErrorCode::kInvalidArgument, explain(root, error)), debug);
  }
  for (const Command& command : commands)
    if (command.app->parsed()) return command.run();
  std::cerr << root.help();
  return traits(ErrorCode::kInvalidArgument).exit_code;
}

int run(int argc, char** argv) {
  bool debug = false;
  try {
    return parse_and_run(argc, argv, debug);
  } catch (const BrokenPipe&) {
    return BrokenPipe::kExitCode;
  } catch (const Error& error) {
    return complain(error, debug);
  } catch (const std::bad_alloc&) {
    return complain(Error(ErrorCode::kInternal, "there was not enough memory"), debug);
  } catch (const std::exception& unexpected) {
    return complain(Error(ErrorCode::kInternal,
                          "something went wrong that should not; --debug says more, please "
                          "report it",
                          unexpected.what()),
                    debug);
  }
}

}  // namespace
}  // namespace bifocal::cli

int main(int argc, char** argv) {
  const int code = bifocal::cli::run(argc, argv);
  // Without the destructors of LibTorch's tables of operators, which take a tenth of a second and
  // free what ends with the process anyway.
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(code);
}
