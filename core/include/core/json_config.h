#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::core {

// A JSON object that knows where it came from, so that a wrong value is reported as
// "text/config.json: hidden_size: expected a whole number from 1 to 65536, got "big"".
// Every getter throws Error(kInvalidBundle). A value type, whose children share what it holds;
// thread-safe to read.
class JsonConfig {
 public:
  // `source` is what messages call the document: a path, "request body". Nesting is capped at 64.
  static JsonConfig parse(std::string_view text, std::string source);
  static JsonConfig read(const std::filesystem::path& path);  // at most 64 MiB
  JsonConfig(nlohmann::json value, std::string source);

  bool has(std::string_view key) const;  // present and not null
  std::int64_t integer(std::string_view key, std::int64_t min, std::int64_t max) const;
  std::int64_t integer_or(std::string_view key, std::int64_t otherwise, std::int64_t min,
                          std::int64_t max) const;
  double number(std::string_view key) const;  // finite
  double number_or(std::string_view key, double otherwise) const;
  bool boolean_or(std::string_view key, bool otherwise) const;
  std::string string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string otherwise) const;
  std::vector<double> numbers(std::string_view key) const;
  std::vector<std::string> strings(std::string_view key) const;
  JsonConfig child(std::string_view key) const;                  // an object
  std::vector<JsonConfig> children(std::string_view key) const;  // an array of objects

  // An Error(kInvalidBundle) at `key`, to throw: for checks that the getters do not know.
  bifocal::Error wrong(std::string_view key, std::string_view what) const;

  const nlohmann::json& json() const noexcept { return *value_; }
  const std::string& source() const noexcept { return source_; }

 private:
  JsonConfig(std::shared_ptr<const nlohmann::json> value, std::string source);
  const nlohmann::json* find(std::string_view key) const;
  const nlohmann::json& require(std::string_view key, std::string_view expected) const;
  JsonConfig part(const nlohmann::json& value, std::string_view key) const;

  std::shared_ptr<const nlohmann::json> value_;  // of a child, a part of its parent's
  std::string source_;
};

}  // namespace bifocal::core
