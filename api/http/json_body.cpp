#include "json_body.h"

#include <cmath>
#include <set>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

using nlohmann::json;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "the body " + what);
}

// Builds the value with a stack of its own and keeps count of what the library does not: depth,
// and keys that come twice.
class Builder : public nlohmann::json_sax<json> {
 public:
  explicit Builder(std::size_t max_depth) : max_depth_(max_depth) {}

  json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(std::int64_t value) override { return put(value); }
  bool number_unsigned(std::uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string& text) override {
    if (!std::isfinite(value)) refuse("holds the number " + text.substr(0, 40) + ", out of range");
    return put(value);
  }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(json::binary_t&) override { return false; }  // not of JSON
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    if (open_.back()->contains(name))
      refuse("has the key \"" + name.substr(0, 80) + "\" twice in one object");
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    throw Error(ErrorCode::kInvalidArgument,
                "the body is not JSON: something is wrong at byte " + std::to_string(position),
                error.what());
  }

 private:
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
  Builder builder(max_depth);
  json::sax_parse(body.begin(), body.end(), &builder);
  return builder.take();
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

std::string JsonObject::string(std::string_view key) const {
  const json& value = at(key);
  if (!value.is_string()) fail(key, std::string("is ") + name_of_type(value) + ", not a string");
  return value.get<std::string>();
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
