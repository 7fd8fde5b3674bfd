#include "core/json_config.h"

#include <cmath>
#include <utility>

#include "core/files.h"

namespace bifocal::core {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::uintmax_t kMaxBytes = 64u << 20;

// What a wrong value is called in a message: short, and never a whole document.
std::string described(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > 40) text = text.substr(0, 40) + "...";
  return text;
}

std::string range_of(std::int64_t min, std::int64_t max) {
  return "a whole number from " + std::to_string(min) + " to " + std::to_string(max);
}

}  // namespace

JsonConfig::JsonConfig(nlohmann::json value, std::string source)
    : JsonConfig(std::make_shared<const nlohmann::json>(std::move(value)), std::move(source)) {}

JsonConfig::JsonConfig(std::shared_ptr<const nlohmann::json> value, std::string source)
    : value_(std::move(value)), source_(std::move(source)) {
  if (!value_->is_object())
    throw Error(ErrorCode::kInvalidBundle,
                source_ + ": expected a JSON object, got " + described(*value_));
}

JsonConfig JsonConfig::parse(std::string_view text, std::string source) {
  // The parser recurses a level of nesting: cap it before the stack does.
  bool too_deep = false;
  const auto check_depth = [&too_deep](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    too_deep = too_deep || depth > kMaxDepth;
    return !too_deep;
  };
  nlohmann::json value;
  try {
    value = nlohmann::json::parse(text, check_depth);
  } catch (const nlohmann::json::exception& failure) {
    throw Error(ErrorCode::kInvalidBundle, source + ": is not valid JSON", failure.what());
  }
  if (too_deep)
    throw Error(ErrorCode::kInvalidBundle,
                source + ": is nested deeper than " + std::to_string(kMaxDepth) + " levels");
  return JsonConfig(std::move(value), std::move(source));
}

JsonConfig JsonConfig::read(const std::filesystem::path& path) {
  return parse(read_text_file(path, kMaxBytes), path.string());
}

const nlohmann::json* JsonConfig::find(std::string_view key) const {
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

bifocal::Error JsonConfig::wrong(std::string_view key, std::string_view what) const {
  return Error(ErrorCode::kInvalidBundle,
               source_ + ": " + std::string(key) + ": " + std::string(what));
}

const nlohmann::json& JsonConfig::require(std::string_view key, std::string_view expected) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) throw wrong(key, "is missing; expected " + std::string(expected));
  return *value;
}

bool JsonConfig::has(std::string_view key) const { return find(key) != nullptr; }

std::int64_t JsonConfig::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const nlohmann::json& value = require(key, range_of(min, max));
  // An unsigned beyond int64 would wrap to a negative number on the way out.
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() ||
                     value.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX));
  if (fits) {
    const auto number = value.get<std::int64_t>();
    if (number >= min && number <= max) return number;
  }
  throw wrong(key, "expected " + range_of(min, max) + ", got " + described(value));
}

std::int64_t JsonConfig::integer_or(std::string_view key, std::int64_t otherwise, std::int64_t min,
                                    std::int64_t max) const {
  return has(key) ? integer(key, min, max) : otherwise;
}

double JsonConfig::number(std::string_view key) const {
  const nlohmann::json& value = require(key, "a number");
  if (!value.is_number() || !std::isfinite(value.get<double>()))
    throw wrong(key, "expected a finite number, got " + described(value));
  return value.get<double>();
}

double JsonConfig::number_or(std::string_view key, double otherwise) const {
  return has(key) ? number(key) : otherwise;
}

bool JsonConfig::boolean_or(std::string_view key, bool otherwise) const {
  const nlohmann::json* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) throw wrong(key, "expected true or false, got " + described(*value));
  return value->get<bool>();
}

std::string JsonConfig::string(std::string_view key) const {
  const nlohmann::json& value = require(key, "a string");
  if (!value.is_string()) throw wrong(key, "expected a string, got " + described(value));
  return value.get<std::string>();
}

std::string JsonConfig::string_or(std::string_view key, std::string otherwise) const {
  return has(key) ? string(key) : std::move(otherwise);
}

std::vector<double> JsonConfig::numbers(std::string_view key) const {
  const nlohmann::json& value = require(key, "an array of numbers");
  if (!value.is_array()) throw wrong(key, "expected an array of numbers, got " + described(value));
  std::vector<double> numbers;
  for (const nlohmann::json& element : value) {
    if (!element.is_number() || !std::isfinite(element.get<double>()))
      throw wrong(key, "expected an array of finite numbers, found " + described(element));
    numbers.push_back(element.get<double>());
  }
  return numbers;
}

std::vector<std::string> JsonConfig::strings(std::string_view key) const {
  const nlohmann::json& value = require(key, "an array of strings");
  if (!value.is_array()) throw wrong(key, "expected an array of strings, got " + described(value));
  std::vector<std::string> strings;
  for (const nlohmann::json& element : value) {
    if (!element.is_string())
      throw wrong(key, "expected an array of strings, found " + described(element));
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

JsonConfig JsonConfig::child(std::string_view key) const {
  const nlohmann::json& value = require(key, "an object");
  if (!value.is_object()) throw wrong(key, "expected an object, got " + described(value));
  return part(value, key);
}

JsonConfig JsonConfig::part(const nlohmann::json& value, std::string_view key) const {
  return JsonConfig(std::shared_ptr<const nlohmann::json>(value_, &value),
                    source_ + ": " + std::string(key));
}

std::vector<JsonConfig> JsonConfig::children(std::string_view key) const {
  const nlohmann::json& value = require(key, "an array of objects");
  if (!value.is_array()) throw wrong(key, "expected an array of objects, got " + described(value));
  std::vector<JsonConfig> children;
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (!value[i].is_object())
      throw wrong(key, "expected an array of objects, found " + described(value[i]));
    children.push_back(part(value[i], std::string(key) + "[" + std::to_string(i) + "]"));
  }
  return children;
}

}  // namespace bifocal::core
