#include "content.h"

#include "../json_body.h"
#include "reading.h"

namespace bifocal::http::wire {
namespace {

void add_text(const std::string& text, WorkItem& item) {
  if (item.item.text)
    *item.item.text += "\n" + text;
  else
    item.item.text = text;
}

void add_image(const std::string& reference, const std::string& where, const RequestLimits& limits,
               WorkItem& item) {
  if (item.item.image || item.image_url)
    throw Error(ErrorCode::kInvalidArgument,
                where + " is a second image; an item is fused of one image and its text");
  read_image(reference, where, limits, item);
}

const std::string& url_of(const JsonObject& part) {
  const nlohmann::json& value = part.at("image_url");
  if (value.is_string()) return value.get_ref<const std::string&>();
  const JsonObject object(value, part.place("image_url"));
  object.refuse_unknown({"url", "detail"});
  return object.string("url");
}

}  // namespace

WorkItem read_content(const nlohmann::json& content, const std::string& where,
                      const RequestLimits& limits) {
  WorkItem item;
  if (content.is_string()) {
    item.item.text = content.get<std::string>();
    return item;
  }
  if (!content.is_array() || content.empty())
    throw Error(ErrorCode::kInvalidArgument, where + " is not a list of parts, or is empty");
  for (std::size_t i = 0; i < content.size(); ++i) {
    const JsonObject part(content[i], where + "[" + std::to_string(i) + "]");
    const std::string& type = part.string("type");
    if (type == "text") {
      part.refuse_unknown({"type", "text"});
      add_text(part.string("text"), item);
    } else if (type == "image_url") {
      part.refuse_unknown({"type", "image_url"});
      add_image(url_of(part), part.place("image_url"), limits, item);
    } else if (type == "image_base64") {
      part.refuse_unknown({"type", "image_base64"});
      add_image(part.string("image_base64"), part.place("image_base64"), limits, item);
    } else {
      part.fail("type", "is \"" + type + "\"; this takes: text, image_url, image_base64");
    }
  }
  return item;
}

bool is_token_ids(const nlohmann::json& value) noexcept {
  return value.is_array() && !value.empty() && value.front().is_number();
}

std::vector<std::int64_t> read_token_ids(const nlohmann::json& value, const std::string& where) {
  std::vector<std::int64_t> ids;
  for (const nlohmann::json& id : value) {
    if (!id.is_number_integer())
      throw Error(ErrorCode::kInvalidArgument, where + " mixes token ids with something else");
    ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

WorkItem read_text(const nlohmann::json& value, const std::string& where, const char* or_else) {
  WorkItem item;
  if (value.is_string())
    item.item.text = value.get<std::string>();
  else if (is_token_ids(value))
    item.item.token_ids = read_token_ids(value, where);
  else
    throw Error(ErrorCode::kInvalidArgument,
                where + " is neither a string nor token ids" + or_else);
  return item;
}

}  // namespace bifocal::http::wire
