#include "json_body.h"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/src.hpp>

#include <charconv>
#include <cmath>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "the body " + what);
}

// What Boost.JSON's parser tells, as a value of the other library, which all else here reads: the
// parser takes a picture's base64 sixteen bytes at a step, where the other's takes one. Counts what
// neither does: keys that come twice, numbers that no double holds.
class Builder {
 public:
  using error_code = boost::json::error_code;
  using Text = boost::json::string_view;
  static constexpr std::size_t kNoLimit = static_cast<std::size_t>(-1);
  // The parser's names for what a handler allows: the body's own size bounds them all.
  static constexpr std::size_t max_object_size = kNoLimit, max_array_size = kNoLimit,
                               max_key_size = kNoLimit, max_string_size = kNoLimit;

  explicit Builder(std::size_t max_depth) : max_depth_(max_depth) {}

  json take() { return std::move(root_); }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return open(json::object()); }
  bool on_object_end(std::size_t, error_code&) { return close(); }
  bool on_array_begin(error_code&) { return open(json::array()); }
  bool on_array_end(std::size_t, error_code&) { return close(); }
  bool on_key_part(Text part, std::size_t, error_code&) { return add(part); }
  bool on_key(Text last, std::size_t, error_code&) {
    key_ = text(last);
    if (open_.back()->contains(key_))
      refuse("has the key \"" + key_.substr(0, 80) + "\" twice in one object");
    return true;
  }
  bool on_string_part(Text part, std::size_t, error_code&) { return add(part); }
  bool on_string(Text last, std::size_t, error_code&) { return put(text(last)); }
  bool on_number_part(Text part, error_code&) { return add(part); }
  bool on_int64(std::int64_t value, Text last, error_code&) {
    text(last);
    return put(value);
  }
  bool on_uint64(std::uint64_t value, Text last, error_code&) {
    text(last);
    return put(value);
  }
  bool on_double(double near, Text last, error_code&) {
    // The parser's own value may be a unit in the last place away.
    const std::string digits = text(last);
    double value = near;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc::result_out_of_range) value = near;  // infinity, or next to nothing
    if (!std::isfinite(value))
      refuse("holds the number " + digits.substr(0, 40) + ", out of range");
    return put(value);
  }
  bool on_bool(bool value, error_code&) { return put(value); }
  bool on_null(error_code&) { return put(nullptr); }
  bool on_comment_part(Text, error_code&) { return true; }
  bool on_comment(Text, error_code&) { return true; }

 private:
  bool add(Text part) {
    parts_.append(part.data(), part.size());
    return true;
  }
  std::string text(Text last) {
    if (parts_.empty()) return std::string(last.data(), last.size());
    add(last);
    return std::exchange(parts_, {});
  }
  json* place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  bool put(json value) {
    place(std::move(value));
    return true;
  }
  bool open(json value) {
    if (open_.size() >= max_depth_)
      refuse("is nested deeper than " + std::to_string(max_depth_) + " levels (max-json-depth)");
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const std::size_t max_depth_;
  json root_;
  // Safe to point at: a container only grows while its last child is open no more.
  std::vector<json*> open_;
  std::string key_;
  std::string parts_;  // of a string with escapes, so far
};

const char* name_of_type(const json& value) {
  return value.is_number()    ? "a number"
         : value.is_array()   ? "an array"
         : value.is_object()  ? "an object"
         : value.is_string()  ? "a string"
         : value.is_boolean() ? "a boolean"
                              : "null";
}

}  // namespace

json parse_json(std::string_view body, std::size_t max_depth) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos)
    refuse("is empty; send a JSON object");
  boost::json::parse_options options;
  options.max_depth = max_depth + 1;  // the builder's own count speaks first
  boost::json::basic_parser<Builder> parser(options, max_depth);
  boost::json::error_code error;
  const std::size_t read = parser.write_some(/*more=*/false, body.data(), body.size(), error);
  if (!error && read < body.size()) error = boost::json::error::extra_data;
  if (error)
    throw Error(ErrorCode::kInvalidArgument,
                "the body is not JSON: something is wrong at byte " + std::to_string(read + 1),
                error.message());
  return parser.handler().take();
}

JsonObject::JsonObject(const json& value, std::string where)
    : value_(&value), where_(std::move(where)) {
  if (!value.is_object())
    throw Error(ErrorCode::kInvalidArgument, (where_.empty() ? "the body" : where_) + " is " +
                                                 name_of_type(value) + ", not an object");
}

const json* JsonObject::find(std::string_view key) const noexcept {
  const auto found = value_->find(key);
  return found == value_->end() || found->is_null() ? nullptr : &*found;
}

bool JsonObject::has(std::string_view key) const noexcept { return find(key) != nullptr; }

std::string JsonObject::place(std::string_view key) const {
  return where_.empty() ? std::string(key) : where_ + "." + std::string(key);
}

void JsonObject::fail(std::string_view key, const std::string& what) const {
  throw Error(ErrorCode::kInvalidArgument, place(key) + " " + what);
}

const json& JsonObject::at(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) fail(key, "is missing");
  return *value;
}

const json& JsonObject::array(std::string_view key) const {
  const json& value = at(key);
  if (!value.is_array()) fail(key, std::string("is ") + name_of_type(value) + ", not an array");
  return value;
}

const std::string& JsonObject::string(std::string_view key) const {
  const json& value = at(key);
  if (!value.is_string()) fail(key, std::string("is ") + name_of_type(value) + ", not a string");
  return value.get_ref<const std::string&>();
}

std::optional<std::string> JsonObject::optional_string(std::string_view key) const {
  return has(key) ? std::optional(string(key)) : std::nullopt;
}

std::int64_t JsonObject::integer(std::string_view key, std::int64_t low, std::int64_t high) const {
  const json& value = at(key);
  const std::string range = std::to_string(low) + " to " + std::to_string(high);
  if (!value.is_number_integer())
    fail(key, std::string("is ") + name_of_type(value) + ", not a whole number from " + range);
  const bool too_large = value.is_number_unsigned() &&
                         value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  const std::int64_t number = too_large ? INT64_MAX : value.get<std::int64_t>();
  if (too_large || number < low || number > high)
    fail(key, "is " + value.dump() + ", not from " + range);
  return number;
}

std::optional<std::int64_t> JsonObject::optional_integer(std::string_view key, std::int64_t low,
                                                         std::int64_t high) const {
  return has(key) ? std::optional(integer(key, low, high)) : std::nullopt;
}

std::optional<bool> JsonObject::optional_boolean(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean())
    fail(key, std::string("is ") + name_of_type(*value) + ", not true or false");
  return value->get<bool>();
}

void JsonObject::refuse_unknown(std::initializer_list<std::string_view> known) const {
  for (const auto& [key, value] : value_->items()) {
    const std::set<std::string_view> names(known);
    if (names.contains(key)) continue;
    std::string list;
    for (const std::string_view name : known)
      list += (list.empty() ? "" : ", ") + std::string(name);
    throw Error(ErrorCode::kInvalidArgument,
                "unsupported field \"" + place(key.substr(0, 80)) + "\"; this takes: " + list);
  }
}

}  // namespace bifocal::http
