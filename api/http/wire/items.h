#pragma once

#include <nlohmann/json.hpp>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "../json_body.h"
#include "../work.h"
#include "json.h"

// Our own API's items, in each form that they are sent.
namespace bifocal::http::wire {

// {"id"?, "text"?, "token_ids"?, "image"?}. Throws Error for what is malformed; an image that does
// not decode from base64 fails alone.
WorkItem read_item(const nlohmann::json& value, const std::string& where,
                   const RequestLimits& limits);
std::vector<WorkItem> read_items(const JsonObject& body, const RequestLimits& limits);

// A request of our own API. The body is JSON; or one item as multipart/form-data (parts "image" and
// "text") or as a raw image (its text in the query), with the fields of `options` as further parts
// or in the query. Throws Error(kUnsupportedMedia) for anything else.
struct OwnRequest {
  nlohmann::json json;  // the whole body, or what the form or the query had beside the item
  std::vector<WorkItem> items;
};
OwnRequest read_own_request(const Request& request, const Context& context,
                            std::initializer_list<std::string_view> options);

// {"object": "error", "index", "id", "error": {"code", "message"}}
AnswerJson item_error(std::size_t index, const std::string& id, const Error& error);
// {"index", "id"} to begin an entry with.
AnswerJson entry(const char* object, std::size_t index, const std::string& id);
std::vector<std::string> ids_of(const std::vector<WorkItem>& items);

}  // namespace bifocal::http::wire
