#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace bifocal::cli {

template <typename T>
using Choices = std::vector<std::pair<std::string, T>>;

// An option that takes one of a few words. Its type name lists them ("fused|image|text"), for the
// help and for shell completion alike. `choices` must hold the value that `target` has now.
template <typename T>
CLI::Option* add_choice(CLI::App& app, const std::string& name, T& target,
                        const Choices<T>& choices, const std::string& description) {
  std::string words;
  std::string current;
  for (const auto& [word, value] : choices) {
    words += (words.empty() ? "" : "|") + word;
    if (value == target) current = word;
  }
  const auto set = [&target, choices, name, words](const std::string& given) {
    for (const auto& [word, value] : choices)
      if (word == given) {
        target = value;
        return;
      }
    throw CLI::ValidationError(name, "\"" + given + "\" is not one of " + words);
  };
  return app.add_option_function<std::string>(name, set, description)
      ->type_name(words)
      ->default_str(current);
}

}  // namespace bifocal::cli
