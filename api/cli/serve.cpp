#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "api_keys.h"
#include "bifocal/error.h"
#include "command.h"
#include "default_bundle.h"
#include "output.h"
#include "server.h"
#include "settings.h"

namespace bifocal::cli {
namespace {

struct ServeOptions {
  http::Values values;  // by setting, as given
  std::string file;
  bool check = false;
  bool table = false;
  std::string new_key;  // its name
  std::string role = "use";
};

std::optional<std::string> from_environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return value;
}

int run_serve(const ServeOptions& options) {
  if (options.table) {
    print(http::settings_markdown());
    return 0;
  }
  if (!options.new_key.empty()) {
    const http::NewKey key = http::make_key(
        options.new_key, options.role == "admin" ? http::KeyRole::kAdmin : http::KeyRole::kUse);
    print(key.secret + "\n" + key.line + "\n");
    return 0;
  }
  http::Settings settings = http::read_settings(options.values, options.file, from_environment);
  if (settings.model.empty()) settings.model = find_default_bundle().string();
  if (options.check) {
    http::check_serving(settings);
    print("All is well: " + settings.model + " loads and answers.\n");
    return 0;
  }
  http::serve(settings);
  return 0;
}

}  // namespace

Command add_serve(CLI::App& root) {
  CLI::App* app = root.add_subcommand("serve", "Answer over HTTP");
  auto options = std::make_shared<ServeOptions>();
  app->add_option("--config", options->file,
                  "A TOML or JSON file of settings; flags count more, the environment "
                  "(BIFOCAL_...) less")
      ->type_name("FILE")
      ->check(CLI::ExistingFile);
  app->add_flag("--check", options->check, "Check settings, keys and bundle, and exit");
  app->add_flag("--settings-table", options->table, "Print every setting as Markdown, and exit");
  app->add_option("--new-key", options->new_key,
                  "Make an API key of that name: prints the key, then the line for the file of "
                  "--api-keys, and exits")
      ->type_name("NAME");
  app->add_option("--role", options->role, "What the new key may do")
      ->check(CLI::IsMember({"use", "admin"}))
      ->capture_default_str();
  for (const http::Setting& setting : http::settings_table()) {
    auto* option = app->add_option(
                          "--" + setting.name,
                          [options, name = setting.name](const CLI::results_t& given) {
                            options->values[name] = given;
                            return true;
                          },
                          setting.help + " [" + setting.takes + "]")
                       ->type_name("")
                       ->group(setting.group);
    if (setting.is_list)
      option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    else
      option->expected(1)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
    const std::string shown = setting.show(http::Settings());
    if (!shown.empty()) option->default_str(shown);
  }
  return {app, [options] { return run_serve(*options); }};
}

}  // namespace bifocal::cli
