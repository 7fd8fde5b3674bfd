#include "items.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "../multipart.h"
#include "reading.h"

namespace bifocal::http::wire {
namespace {

bool has_image(const WorkItem& item) { return item.item.image || item.image_url || item.error; }

void set_image_bytes(std::string_view bytes, const RequestLimits& limits, WorkItem& item) {
  if (bytes.size() > limits.max_image_bytes) {
    item.error =
        Error(ErrorCode::kImageTooLarge,
              "the image has " + std::to_string(bytes.size()) + " bytes, more than the limit of " +
                  std::to_string(limits.max_image_bytes) + " (max-image-bytes)");
    return;
  }
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  item.item.image.emplace(data, data + bytes.size());
}

// "5", "true" and "fused" as JSON has them, so that a form's fields are read like a body's.
nlohmann::json loosely_typed(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const bool digits =
      !text.empty() && text.size() < 18 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits) return std::stoll(text);
  return text;
}

void read_form(const Request& request, const RequestLimits& limits, OwnRequest& read) {
  WorkItem item;
  for (const Part& part : parse_multipart(request.headers.get("content-type"), request.body)) {
    if (part.name == "image") {
      if (has_image(item))
        throw Error(ErrorCode::kInvalidArgument,
                    "the form has two parts \"image\"; send several items as JSON");
      set_image_bytes(part.data, limits, item);
    } else if (part.name == "text") {
      item.item.text = std::string(part.data);
    } else if (part.name == "id") {
      item.item.id = std::string(part.data);
    } else {
      read.json[part.name] = loosely_typed(std::string(part.data));
    }
  }
  read.items.push_back(std::move(item));
}

void read_raw_image(const Request& request, const RequestLimits& limits, OwnRequest& read) {
  if (request.body.empty())
    throw Error(ErrorCode::kInvalidArgument, "the body is empty; send the image's bytes");
  WorkItem item;
  set_image_bytes(request.body, limits, item);
  for (const auto& [name, value] : request.query) {
    if (name == "text")
      item.item.text = value;
    else if (name == "id")
      item.item.id = value;
    else if (name != "timeout")
      read.json[name] = loosely_typed(value);
  }
  read.items.push_back(std::move(item));
}

}  // namespace

WorkItem read_item(const nlohmann::json& value, const std::string& where,
                   const RequestLimits& limits) {
  const JsonObject object(value, where);
  object.refuse_unknown({"id", "text", "token_ids", "image"});
  WorkItem item;
  item.item.id = object.optional_string("id").value_or("");
  item.item.text = object.optional_string("text");
  if (object.has("token_ids")) {
    item.item.token_ids.emplace();
    for (const nlohmann::json& id : object.array("token_ids")) {
      if (!id.is_number_integer()) object.fail("token_ids", "holds something that is no token id");
      item.item.token_ids->push_back(id.get<std::int64_t>());
    }
  }
  if (object.has("image")) read_image(object.string("image"), object.place("image"), limits, item);
  return item;
}

std::vector<WorkItem> read_items(const JsonObject& body, const RequestLimits& limits) {
  const nlohmann::json& array = body.array("items");
  if (array.size() > limits.max_items) require_items(array.size(), 0, "items", limits);
  std::vector<WorkItem> items;
  items.reserve(array.size());
  for (std::size_t i = 0; i < array.size(); ++i)
    items.push_back(read_item(array[i], "items[" + std::to_string(i) + "]", limits));
  const auto images = std::count_if(items.begin(), items.end(), has_image);
  require_items(items.size(), static_cast<std::size_t>(images), "items", limits);
  return items;
}

OwnRequest read_own_request(const Request& request, const Context& context,
                            std::initializer_list<std::string_view> options) {
  OwnRequest read;
  read.json = nlohmann::json::object();
  const std::string type = request.media_type();
  if (type == "multipart/form-data") {
    read_form(request, context.limits, read);
  } else if (type.starts_with("image/")) {
    read_raw_image(request, context.limits, read);
  } else if (type == "application/json" || type.ends_with("+json") || type.empty()) {
    read.json = parse_json(request.body, context.limits.max_json_depth);
    read.items = read_items(JsonObject(read.json), context.limits);
  } else {
    throw Error(ErrorCode::kUnsupportedMedia,
                "the content-type \"" + type.substr(0, 80) +
                    "\" is not read; send application/json, multipart/form-data or image/*");
  }
  const JsonObject body(read.json);
  for (const auto& [key, value] : read.json.items()) {
    if (key == "items" && type != "multipart/form-data" && !type.starts_with("image/")) continue;
    if (key == "model" || std::find(options.begin(), options.end(), key) != options.end()) continue;
    std::string known = "items, model";
    for (const std::string_view option : options) known += ", " + std::string(option);
    throw Error(ErrorCode::kInvalidArgument,
                "unsupported field \"" + key.substr(0, 80) + "\"; this takes: " + known);
  }
  require_model(body.optional_string("model").value_or(""), context);
  return read;
}

AnswerJson entry(const char* object, std::size_t index, const std::string& id) {
  AnswerJson one = {{"object", object}, {"index", index}};
  if (!id.empty()) one["id"] = id;
  return one;
}

AnswerJson item_error(std::size_t index, const std::string& id, const Error& error) {
  AnswerJson one = entry("error", index, id);
  one["error"] = {{"code", traits(error.code()).name}, {"message", error.message()}};
  return one;
}

std::vector<std::string> ids_of(const std::vector<WorkItem>& items) {
  std::vector<std::string> ids;
  ids.reserve(items.size());
  for (const WorkItem& item : items) ids.push_back(item.item.id);
  return ids;
}

}  // namespace bifocal::http::wire
