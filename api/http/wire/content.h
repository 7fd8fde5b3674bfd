#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "../work.h"

namespace bifocal::http::wire {

// The parts that Cohere, Voyage and vLLM put into one fused item:
// [{"type": "text", "text"}, {"type": "image_url", "image_url": {"url"} | "..."},
//  {"type": "image_base64", "image_base64"}]. Several texts are joined by a line break; a second
// image is an error, since an item has one. Throws Error naming the place.
WorkItem read_content(const nlohmann::json& content, const std::string& where,
                      const RequestLimits& limits);

// [101, 2023, ...]
bool is_token_ids(const nlohmann::json& value) noexcept;
std::vector<std::int64_t> read_token_ids(const nlohmann::json& value, const std::string& where);
// A string, or a text as token ids. Throws Error naming what else may be there.
WorkItem read_text(const nlohmann::json& value, const std::string& where, const char* or_else = "");

}  // namespace bifocal::http::wire
