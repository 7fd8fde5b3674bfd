#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bifocal::http {

using Clock = std::chrono::steady_clock;

inline char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
inline bool equal_ignoring_case(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

// Header fields in order; names without regard to case (RFC 9110, section 5.1).
class Headers {
 public:
  void add(std::string name, std::string value) {
    fields_.emplace_back(std::move(name), std::move(value));
  }
  // The first field of that name, or empty.
  std::string_view get(std::string_view name) const noexcept {
    for (const auto& [key, value] : fields_)
      if (equal_ignoring_case(key, name)) return value;
    return {};
  }
  bool has(std::string_view name) const noexcept {
    return std::any_of(fields_.begin(), fields_.end(), [name](const auto& field) {
      return equal_ignoring_case(field.first, name);
    });
  }
  auto begin() const noexcept { return fields_.begin(); }
  auto end() const noexcept { return fields_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

// A request as the wire formats see it: whole, its body decoded from any content encoding. No type
// of the network library.
struct Request {
  std::string method;  // "POST"
  std::string path;    // "/v1/embeddings": without the query, percent-decoded
  std::vector<std::pair<std::string, std::string>> query;        // percent-decoded
  std::vector<std::pair<std::string, std::string>> path_values;  // of the route's {names}
  Headers headers;
  std::string body;
  std::string id;  // x-request-id: the caller's, or made here
  Clock::time_point received = Clock::now();

  std::string_view path_value(std::string_view name) const noexcept {
    for (const auto& [key, value] : path_values)
      if (key == name) return value;
    return {};
  }
  std::optional<std::string_view> query_value(std::string_view name) const noexcept {
    for (const auto& [key, value] : query)
      if (key == name) return value;
    return std::nullopt;
  }
  // Without its parameters, in lower case: "application/json".
  std::string media_type() const {
    const std::string_view whole = headers.get("content-type");
    std::string type(whole.substr(0, whole.find(';')));
    while (!type.empty() && (type.back() == ' ' || type.back() == '\t')) type.pop_back();
    std::transform(type.begin(), type.end(), type.begin(), lower);
    return type;
  }
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  Headers headers;  // beside content-type and content-length
};

}  // namespace bifocal::http
