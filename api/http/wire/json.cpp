#include "json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

namespace bifocal::http::wire {
namespace {

// ASCII that needs no escape: nearly every string of an answer.
bool is_plain(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x80 &&
           c != '"' && c != '\\';
  });
}

void append_string(std::string_view text, std::string& out) {
  if (is_plain(text))
    ((out += '"') += text) += '"';
  else
    out += AnswerJson(text).dump(-1, ' ', false, AnswerJson::error_handler_t::replace);
}

// The shortest decimals that read back as the same float. A whole number keeps its point, so that
// it stays a float to those who read it.
void append_float(float value, std::string& out) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  const std::string_view text(digits.data(), static_cast<std::size_t>(end - digits.data()));
  out += text;
  if (text.find_first_of(".e") == std::string_view::npos) out += ".0";
}

void append(const AnswerJson& value, std::string& out) {
  if (value.is_object()) {
    char before = '{';
    for (const auto& [key, member] : value.get_ref<const AnswerJson::object_t&>()) {
      out += before;
      append_string(key, out);
      out += ':';
      append(member, out);
      before = ',';
    }
    out += value.empty() ? "{}" : "}";
  } else if (value.is_array()) {
    char before = '[';
    for (const AnswerJson& element : value) {
      out += before;
      append(element, out);
      before = ',';
    }
    out += value.empty() ? "[]" : "]";
  } else if (value.is_string()) {
    append_string(value.get_ref<const std::string&>(), out);
  } else if (value.is_number_float()) {
    append_float(value.get<float>(), out);
  } else {
    out += value.dump();
  }
}

}  // namespace

std::string text_of(const AnswerJson& value) {
  std::string text;
  append(value, text);
  return text;
}

}  // namespace bifocal::http::wire
