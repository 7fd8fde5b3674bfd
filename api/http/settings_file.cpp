#include <toml++/toml.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bifocal/error.h"
#include "settings.h"

namespace bifocal::http {
namespace {

using nlohmann::json;

// TOML has what JSON has, and dates, which no setting takes.
json to_json(const toml::node& node) {
  if (const auto* array = node.as_array()) {
    json list = json::array();
    for (const auto& one : *array) list.push_back(to_json(one));
    return list;
  }
  if (const auto value = node.value_exact<std::string>()) return *value;
  if (const auto value = node.value_exact<bool>()) return *value;
  if (const auto value = node.value_exact<std::int64_t>()) return *value;
  if (const auto value = node.value_exact<double>()) return *value;
  return json::object();
}

json read_toml(const std::string& path, const std::string& text) {
  try {
    const toml::table table = toml::parse(text, path);
    json object = json::object();
    for (const auto& [key, node] : table) object[std::string(key.str())] = to_json(node);
    return object;
  } catch (const toml::parse_error& error) {
    throw Error(ErrorCode::kInvalidArgument,
                path + ": line " + std::to_string(error.source().begin.line) +
                    " is not TOML: " + std::string(error.description()));
  }
}

std::string written(const json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean() || value.is_number()) return value.dump();
  throw Error(ErrorCode::kInvalidArgument, where + " is neither a text, a number nor a boolean");
}

// How many letters differ at most: enough to tell a slip from another word.
std::string hint(const std::string& key) {
  std::string best;
  std::size_t closest = 4;
  for (const Setting& setting : settings_table()) {
    std::string name = setting.name;
    std::replace(name.begin(), name.end(), '-', '_');
    std::vector<std::size_t> row(name.size() + 1);
    for (std::size_t j = 0; j <= name.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= key.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j <= name.size(); ++j) {
        const std::size_t replace = diagonal + (key[i - 1] == name[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({replace, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() >= closest) continue;
    closest = row.back();
    best = name;
  }
  return best.empty() ? std::string() : "; did you mean " + best + "?";
}

}  // namespace

Values read_settings_file(const std::string& path) {
  std::ifstream stream(path);
  if (!stream) throw Error(ErrorCode::kNotFound, path + " cannot be read");
  std::ostringstream text;
  text << stream.rdbuf();
  json object;
  if (std::filesystem::path(path).extension() == ".toml")
    object = read_toml(path, text.str());
  else
    object = json::parse(text.str(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object())
    throw Error(ErrorCode::kInvalidArgument,
                path + " is not a JSON object; a TOML file's name ends in .toml");
  Values values;
  for (const auto& [key, value] : object.items()) {
    std::string name = key;
    std::replace(name.begin(), name.end(), '_', '-');
    const auto table = settings_table();
    if (std::none_of(table.begin(), table.end(),
                     [&](const Setting& one) { return one.name == name; }))
      throw Error(ErrorCode::kInvalidArgument, path + ": there is no setting " + key + hint(key));
    const std::string where = path + ": " + key;
    if (value.is_array())
      for (const json& one : value) values[name].push_back(written(one, where));
    else
      values[name] = {written(value, where)};
  }
  return values;
}

}  // namespace bifocal::http
