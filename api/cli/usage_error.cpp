#include "usage_error.h"

#include <algorithm>
#include <cstddef>

namespace bifocal::cli {
namespace {

// Optimal string alignment: Levenshtein's distance, with a swap of neighbours as one edit.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> above(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

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
  const std::string guess = nearest(word, known);
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

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  std::size_t closest = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= closest) continue;
    closest = distance;
    best = candidate;
  }
  return best;
}

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
