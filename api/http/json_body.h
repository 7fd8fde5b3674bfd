#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace bifocal::http {

// JSON (RFC 8259) from a stranger. Throws Error(kInvalidArgument) saying at which byte: not JSON,
// not UTF-8, nested deeper than `max_depth`, the same key twice in one object, a number that no
// double holds. Never recurses by the sender's depth.
nlohmann::json parse_json(std::string_view body, std::size_t max_depth);

// An object read by its keys. Every error is Error(kInvalidArgument) and names the place
// ("items[3].image") and what was expected there. Refers to the value it was made of.
class JsonObject {
 public:
  // `where` is the object's own place; empty for the body itself.
  explicit JsonObject(const nlohmann::json& value, std::string where = {});

  // A key whose value is null counts as absent.
  bool has(std::string_view key) const noexcept;
  std::string place(std::string_view key) const;  // "items[3].image"

  const nlohmann::json& at(std::string_view key) const;
  const nlohmann::json& array(std::string_view key) const;
  const std::string& string(std::string_view key) const;  // of the value
  std::optional<std::string> optional_string(std::string_view key) const;
  std::int64_t integer(std::string_view key, std::int64_t low, std::int64_t high) const;
  std::optional<std::int64_t> optional_integer(std::string_view key, std::int64_t low,
                                               std::int64_t high) const;
  std::optional<bool> optional_boolean(std::string_view key) const;

  // One of a few words; `otherwise` where it is absent.
  template <typename T>
  T choice(std::string_view key, std::initializer_list<std::pair<std::string_view, T>> choices,
           T otherwise) const {
    const auto given = optional_string(key);
    if (!given) return otherwise;
    std::string known;
    for (const auto& [word, value] : choices) {
      if (word == *given) return value;
      known += (known.empty() ? "\"" : ", \"") + std::string(word) + "\"";
    }
    fail(key, "is not one of " + known);
  }

  // Names a key that is none of these.
  void refuse_unknown(std::initializer_list<std::string_view> known) const;
  // For a field that exists elsewhere and cannot be honoured here.
  [[noreturn]] void fail(std::string_view key, const std::string& what) const;

 private:
  const nlohmann::json* find(std::string_view key) const noexcept;

  const nlohmann::json* value_;
  std::string where_;
};

}  // namespace bifocal::http
