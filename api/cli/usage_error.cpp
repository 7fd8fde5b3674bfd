#include "usage_error.h"

#include <utility>

#include "core/nearest_word.h"

namespace bifocal::cli {
namespace {

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<std::string> command_names(const CLI::App& root) {
  std::vector<std::string> names;
  for (const CLI::App* command : root.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::string meant(std::string_view word, const std::vector<std::string>& known) {
  const std::string guess = core::nearest_word(word, known);
  return guess.empty() ? std::string() : "; did you mean " + guess + "?";
}

std::string explain_stray(const CLI::App& root, const CLI::App& command, std::string word) {
  if (word.starts_with('-') && word.size() > 1) {
    word = word.substr(0, word.find('='));
    std::vector<std::string> known = option_names(command);
    for (std::string& name : option_names(root)) known.push_back(std::move(name));
    return "there is no option " + word + meant(word, known);
  }
  if (&command == &root)
    return "there is no command \"" + word + "\"" + meant(word, command_names(root));
  return "\"" + word + "\" was not expected here; values follow an option, such as --text \"" +
         word + "\"";
}

}  // namespace

std::string explain(const CLI::App& root, const CLI::ParseError& error) {
  const auto chosen = root.get_subcommands();
  const CLI::App& command = chosen.empty() ? root : *chosen.front();
  const std::string path =
      chosen.empty() ? root.get_name() : root.get_name() + " " + command.get_name();
  // A word that no option took is told first: it is often why another error came up.
  const std::vector<std::string> stray = root.remaining(/*recurse=*/true);
  return (stray.empty() ? std::string(error.what()) : explain_stray(root, command, stray.front())) +
         "\nSee `" + path + " --help`.";
}

}  // namespace bifocal::cli
