#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "choice.h"
#include "command.h"
#include "output.h"

namespace bifocal::cli {
namespace {

constexpr const char* kFooter = R"(Examples:
  source <(bifocal completion bash)                            this shell; or put it in ~/.bashrc
  bifocal completion zsh > ~/.zfunc/_bifocal                   a directory of $fpath
  bifocal completion fish > ~/.config/fish/completions/bifocal.fish)";

enum class Shell { kNone, kBash, kZsh, kFish };

// What may follow an option.
enum class Values { kNone, kWords, kFiles, kDirectories, kAnything };

struct OptionWords {
  std::vector<std::string> names;  // "--help", "-h"
  std::string description;         // its first line
  Values values = Values::kNone;
  std::vector<std::string> words;  // for kWords
};

struct CommandWords {
  std::string name;
  std::string description;
  std::vector<OptionWords> options;
  std::vector<std::string> arguments;  // the words that may stand by themselves
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) parts.push_back(part);
  return parts;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : " ") + part;
  return text;
}

OptionWords words_of(const CLI::Option& option) {
  OptionWords words;
  for (const std::string& name : option.get_lnames()) words.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) words.names.push_back("-" + name);
  words.description = option.get_description();
  words.description = words.description.substr(0, words.description.find('\n'));
  const std::string type = option.get_type_name();
  if (option.get_items_expected_max() == 0)
    words.values = Values::kNone;
  else if (type.find('|') != std::string::npos)
    words.values = Values::kWords;
  else if (type == "FILE")
    words.values = Values::kFiles;
  else if (type == "DIR")
    words.values = Values::kDirectories;
  else
    words.values = Values::kAnything;
  if (words.values == Values::kWords) words.words = split(type, '|');
  return words;
}

CommandWords words_of(const CLI::App& app) {
  CommandWords words{app.get_name(), app.get_description(), {}, {}};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional())
      words.arguments = split(option->get_type_name(), '|');
    else
      words.options.push_back(words_of(*option));
  }
  return words;
}

std::vector<CommandWords> commands_of(const CLI::App& root) {
  std::vector<CommandWords> commands;
  for (const CLI::App* command : root.get_subcommands({})) {
    commands.push_back(words_of(*command));
    // --debug may stand anywhere.
    for (const OptionWords& option : words_of(root).options)
      if (option.names.front() == "--debug") commands.back().options.push_back(option);
  }
  return commands;
}

// In single quotes, as all three shells read them.
std::string in_quotes(const std::string& text) {
  std::string result = "'";
  for (const char c : text) c == '\'' ? result += "'\\''" : result += c;
  return result + "'";
}

std::string bash_values(const OptionWords& option) {
  switch (option.values) {
    case Values::kWords:
      return "COMPREPLY=($(compgen -W " + in_quotes(joined(option.words)) + " -- \"$word\"))";
    case Values::kFiles:
      return "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$word\"))";
    case Values::kDirectories:
      return "compopt -o filenames; COMPREPLY=($(compgen -d -- \"$word\"))";
    case Values::kAnything:
    case Values::kNone:
      break;
  }
  return "COMPREPLY=()";
}

std::string bash_case(const CommandWords& command) {
  std::string flags;
  std::string values;
  for (const OptionWords& option : command.options) {
    flags += (flags.empty() ? "" : " ") + joined(option.names);
    if (option.values == Values::kNone) continue;
    std::string pattern;
    for (const std::string& name : option.names) pattern += (pattern.empty() ? "" : "|") + name;
    values += "        " + pattern + ") " + bash_values(option) + "; return ;;\n";
  }
  if (!command.arguments.empty()) flags += " " + joined(command.arguments);
  return "    " + command.name + ")\n" +
         (values.empty() ? "" : "      case \"$previous\" in\n" + values + "      esac\n") +
         "      COMPREPLY=($(compgen -W " + in_quotes(flags) + " -- \"$word\")) ;;\n";
}

std::string bash_script(const CLI::App& root) {
  std::string names;
  std::string cases;
  for (const CommandWords& command : commands_of(root)) {
    names += command.name + " ";
    cases += bash_case(command);
  }
  for (const OptionWords& option : words_of(root).options) names += joined(option.names) + " ";
  return "# bash completion for bifocal, from its own list of commands\n"
         "_bifocal() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= i\n"
         "  for ((i = 1; i < COMP_CWORD; ++i)); do\n"
         "    [[ ${COMP_WORDS[i]} == -* ]] || { command=${COMP_WORDS[i]}; break; }\n"
         "  done\n"
         "  case \"$command\" in\n" +
         cases + "    '') COMPREPLY=($(compgen -W " + in_quotes(names) +
         " -- \"$word\")) ;;\n"
         "  esac\n"
         "}\n"
         "complete -F _bifocal bifocal\n";
}

// Inside of [...] and of :...: zsh gives brackets and colons a meaning.
std::string zsh_escaped(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string zsh_argument(const OptionWords& option, const std::string& name) {
  std::string values;
  switch (option.values) {
    case Values::kWords:
      values = ":value:(" + joined(option.words) + ")";
      break;
    case Values::kFiles:
      values = ":file:_files";
      break;
    case Values::kDirectories:
      values = ":directory:_files -/";
      break;
    case Values::kAnything:
      values = ":value: ";
      break;
    case Values::kNone:
      break;
  }
  return in_quotes(name + "[" + zsh_escaped(option.description) + "]" + values);
}

std::string zsh_arguments(const CommandWords& command) {
  std::string text = "_arguments";
  for (const OptionWords& option : command.options)
    for (const std::string& name : option.names)
      text += " \\\n        " + zsh_argument(option, name);
  if (!command.arguments.empty())
    text += " \\\n        " + in_quotes("1:argument:(" + joined(command.arguments) + ")");
  return text;
}

std::string zsh_script(const CLI::App& root) {
  std::string described;
  std::string cases;
  for (const CommandWords& command : commands_of(root)) {
    described += "    " + in_quotes(command.name + ":" + zsh_escaped(command.description)) + "\n";
    cases += "    " + command.name + ")\n      " + zsh_arguments(command) + " ;;\n";
  }
  return "#compdef bifocal\n"
         "# zsh completion for bifocal, from its own list of commands\n"
         "_bifocal() {\n"
         "  local -a commands=(\n" +
         described +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command commands\n"
         "    " +
         zsh_arguments(words_of(root)) +
         "\n    return\n"
         "  fi\n"
         "  local command=${words[2]}\n"
         "  shift words\n"
         "  (( CURRENT-- ))\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "}\n"
         "if [[ ${funcstack[1]} == _bifocal ]]; then _bifocal \"$@\"; else compdef _bifocal "
         "bifocal; fi\n";
}

std::string fish_option(const OptionWords& option, const std::string& condition) {
  std::string text = "complete -c bifocal -n " + in_quotes(condition);
  for (const std::string& name : option.names)
    text += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  switch (option.values) {
    case Values::kWords:
      text += " -x -a " + in_quotes(joined(option.words));
      break;
    case Values::kFiles:
      text += " -r -F";
      break;
    case Values::kDirectories:
      text += " -x -a '(__fish_complete_directories)'";
      break;
    case Values::kAnything:
      text += " -x";
      break;
    case Values::kNone:
      break;
  }
  return text + " -d " + in_quotes(option.description) + "\n";
}

std::string fish_script(const CLI::App& root) {
  std::string script =
      "# fish completion for bifocal, from its own list of commands\n"
      "complete -c bifocal -f\n";
  for (const OptionWords& option : words_of(root).options)
    script += fish_option(option, "__fish_use_subcommand");
  for (const CommandWords& command : commands_of(root)) {
    script += "complete -c bifocal -n '__fish_use_subcommand' -a " + command.name + " -d " +
              in_quotes(command.description) + "\n";
    const std::string condition = "__fish_seen_subcommand_from " + command.name;
    for (const OptionWords& option : command.options) script += fish_option(option, condition);
    if (!command.arguments.empty())
      script += "complete -c bifocal -n " + in_quotes(condition) + " -a " +
                in_quotes(joined(command.arguments)) + "\n";
  }
  return script;
}

int run(const CLI::App& root, Shell shell) {
  print(shell == Shell::kBash  ? bash_script(root)
        : shell == Shell::kZsh ? zsh_script(root)
                               : fish_script(root));
  return 0;
}

}  // namespace

Command add_completion(CLI::App& root) {
  CLI::App* app = root.add_subcommand("completion", "Write a shell's completion script");
  app->footer(kFooter);
  auto shell = std::make_shared<Shell>(Shell::kNone);
  add_choice<Shell>(*app, "shell", *shell,
                    {{"bash", Shell::kBash}, {"zsh", Shell::kZsh}, {"fish", Shell::kFish}},
                    "The shell to write for")
      ->required();
  return {app, [&root, shell] { return run(root, *shell); }};
}

}  // namespace bifocal::cli
