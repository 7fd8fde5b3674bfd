#include "json_lines.h"

#include <charconv>

namespace bifocal::cli {
namespace {

const char* name_of(Side side) {
  switch (side) {
    case Side::kImage:
      return "image";
    case Side::kText:
      return "text";
    case Side::kFused:
      break;
  }
  return "fused";
}

}  // namespace

void append_json(std::string& line, const nlohmann::json& value) {
  line += value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void append_number(std::string& line, float value) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  line.append(digits, end);
}

void append_numbers(std::string& line, std::span<const float> values) {
  char separator = '[';
  for (const float value : values) {
    line += separator;
    append_number(line, value);
    separator = ',';
  }
  line += values.empty() ? "[]" : "]";
}

void append_error(std::string& line, const Error& error) {
  line += "{\"code\":\"";
  line += traits(error.code()).name;
  line += "\",\"message\":";
  append_json(line, error.message());
  line += '}';
}

void append_provenance(std::string& line, const Provenance& provenance) {
  line += "{\"side\":\"";
  line += name_of(provenance.side);
  line += "\",\"tokens\":" + std::to_string(provenance.tokens);
  line += ",\"cut_tokens\":" + std::to_string(provenance.cut_tokens);
  line += ",\"windows\":" + std::to_string(provenance.windows);
  line += ",\"image\":";
  if (provenance.image_width == 0) {
    line += "null}";
    return;
  }
  line += '[';
  line += std::to_string(provenance.image_width);
  line += ',';
  line += std::to_string(provenance.image_height);
  line += "]}";
}

}  // namespace bifocal::cli
