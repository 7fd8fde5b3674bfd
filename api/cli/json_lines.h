#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "bifocal/error.h"
#include "bifocal/values.h"

namespace bifocal::cli {

// Appends to a line of JSON. Strings that are not UTF-8 (a file's name may be anything) get U+FFFD.
void append_json(std::string& line, const nlohmann::json& value);
// The shortest digits that read back as the same float32.
void append_number(std::string& line, float value);
void append_numbers(std::string& line, std::span<const float> values);
// {"code":"invalid_image","message":"..."}
void append_error(std::string& line, const Error& error);
// {"side":"fused","tokens":9,"cut_tokens":0,"windows":1,"image":[640,480]}; null without an image
void append_provenance(std::string& line, const Provenance& provenance);

}  // namespace bifocal::cli
