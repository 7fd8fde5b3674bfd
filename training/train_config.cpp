#include "training/train_config.h"

#include <algorithm>
#include <utility>

#include "bifocal/error.h"
#include "core/json_config.h"
#include "core/nearest_word.h"

namespace bifocal::training {
namespace {

using Json = nlohmann::json;

const TrainConfigKey& find_key(std::string_view name, const std::string& source) {
  std::vector<std::string> known;
  for (const TrainConfigKey& key : train_config_keys()) {
    if (key.name == name) return key;
    known.push_back(key.name);
  }
  const std::string nearest = core::nearest_word(name, known);
  throw Error(ErrorCode::kInvalidArgument,
              source + ": there is no key \"" + std::string(name) + "\"" +
                  (nearest.empty() ? "; `bifocal train --settings-table` lists them all"
                                   : "; did you mean \"" + nearest + "\"?"));
}

void apply(const std::string& name, const Json& value, const std::string& source,
           TrainConfig& config) {
  const TrainConfigKey& key = find_key(name, source);
  try {
    key.set(config, value);
  } catch (const Error& error) {
    throw Error(error.code(), source + ": " + name + " " + error.message());
  }
}

const TrainPreset& find_preset(const std::string& name) {
  std::vector<std::string> known;
  for (const TrainPreset& preset : train_presets()) {
    if (preset.name == name) return preset;
    known.emplace_back(preset.name);
  }
  const std::string nearest = core::nearest_word(name, known);
  std::string list;
  for (const std::string& word : known) list += (list.empty() ? "" : ", ") + word;
  throw Error(ErrorCode::kInvalidArgument,
              "preset: " + (name.empty() ? "is missing" : "there is no \"" + name + "\"") +
                  "; there are " + list +
                  (nearest.empty() ? "" : "; did you mean \"" + nearest + "\"?"));
}

}  // namespace

TrainConfig read_train_config(const std::string& file, const std::map<std::string, Json>& flags) {
  Json from_file = Json::object();
  if (!file.empty()) from_file = core::JsonConfig::read(file).json();
  TrainConfig config;
  if (from_file.contains("preset")) apply("preset", from_file.at("preset"), file, config);
  if (const auto flag = flags.find("preset"); flag != flags.end())
    apply("preset", flag->second, "--preset", config);
  const std::string preset = config.preset;
  for (const auto& [name, value] : find_preset(preset).values.items())
    apply(name, value, "preset " + preset, config);
  for (const auto& [name, value] : from_file.items())
    if (name != "$schema" && name != "preset") apply(name, value, file, config);
  for (const auto& [name, value] : flags)
    apply(name, value, "--" + find_key(name, "").flag(), config);
  return config;
}

nlohmann::json to_json(const TrainConfig& config) {
  Json json = Json::object();
  for (const TrainConfigKey& key : train_config_keys()) json[key.name] = key.get(config);
  return json;
}

nlohmann::json train_config_schema() {
  const TrainConfig defaults;
  Json properties = {{"$schema", {{"type", "string"}}}};
  for (const TrainConfigKey& key : train_config_keys()) {
    Json property = key.schema;
    property["description"] = key.meaning;
    if (key.name != "preset") property["default"] = key.get(defaults);
    properties[key.name] = std::move(property);
  }
  return {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
          {"title", "bifocal train --config"},
          {"type", "object"},
          {"additionalProperties", false},
          {"properties", std::move(properties)}};
}

std::string train_config_markdown() {
  const TrainConfig defaults;
  const auto shown = [](const Json& value) {
    if (value.is_string() && value.get<std::string>().empty()) return std::string();
    return "`" + (value.is_string() ? value.get<std::string>() : value.dump()) + "`";
  };
  std::string markdown = "| key | default |";
  std::string rule = "| --- | --- |";
  for (const TrainPreset& preset : train_presets()) {
    markdown += " `" + std::string(preset.name) + "` |";
    rule += " --- |";
  }
  markdown += " takes | what it does |\n" + rule + " --- | --- |\n";
  std::string group;
  for (const TrainConfigKey& key : train_config_keys()) {
    if (key.group != group) {
      group = key.group;
      markdown += "| **" + group + "** | |" + std::string(train_presets().size(), ' ');
      for (std::size_t i = 0; i < train_presets().size(); ++i) markdown += " |";
      markdown += " | |\n";
    }
    markdown += "| `" + key.name + "` | " + shown(key.get(defaults)) + " |";
    for (const TrainPreset& preset : train_presets())
      markdown += (preset.values.contains(key.name) ? " " + shown(preset.values.at(key.name)) + " |"
                                                    : std::string(" |"));
    markdown += " " + key.takes() + " | " + key.meaning + " |\n";
  }
  return markdown;
}

}  // namespace bifocal::training
