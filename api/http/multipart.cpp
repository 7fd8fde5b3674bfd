#include "multipart.h"

#include <algorithm>
#include <optional>

#include "bifocal/error.h"
#include "message.h"

namespace bifocal::http {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument, "the multipart body " + what);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The value of `name` among the parameters of a header: `; name=value` or `; name="value"`.
std::optional<std::string> parameter(std::string_view header, std::string_view name) {
  std::size_t at = header.find(';');
  while (at < header.size()) {
    std::string_view rest = trimmed(header.substr(at + 1));
    const std::size_t equals = rest.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view key = trimmed(rest.substr(0, equals));
    rest = trimmed(rest.substr(equals + 1));
    std::string value;
    std::size_t used = 0;
    if (rest.starts_with('"')) {
      for (used = 1; used < rest.size() && rest[used] != '"'; ++used) {
        if (rest[used] == '\\' && used + 1 < rest.size()) ++used;
        value += rest[used];
      }
      if (used == rest.size()) return std::nullopt;
    } else {
      used = std::min(rest.find(';'), rest.size());
      value = std::string(trimmed(rest.substr(0, used)));
    }
    if (equal_ignoring_case(key, name)) return value;
    const std::size_t next = rest.find(';', used);
    if (next == std::string_view::npos) return std::nullopt;
    at = static_cast<std::size_t>(rest.data() - header.data()) + next;
  }
  return std::nullopt;
}

std::string boundary_of(std::string_view content_type) {
  const auto boundary = parameter(content_type, "boundary");
  constexpr std::size_t kLongest = 70;  // RFC 2046
  if (!boundary || boundary->empty() || boundary->size() > kLongest)
    refuse("has no boundary of 1 to 70 characters in its content-type");
  return *boundary;
}

Part parse_part(std::string_view part, const MultipartLimits& limits) {
  Part parsed;
  bool has_disposition = false;
  std::size_t used = 0;
  for (;;) {
    const std::size_t end = part.find("\r\n", used);
    if (end == std::string_view::npos) refuse("has a part whose header does not end");
    if (end > limits.max_header_bytes) refuse("has a part with too long a header");
    const std::string_view line = part.substr(used, end - used);
    used = end + 2;
    if (line.empty()) break;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) refuse("has a header line without a colon");
    const std::string_view name = trimmed(line.substr(0, colon));
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (equal_ignoring_case(name, "content-type")) parsed.content_type = value;
    if (!equal_ignoring_case(name, "content-disposition")) continue;
    const auto field = parameter(value, "name");
    if (!field) refuse("has a part without a name");
    parsed.name = *field;
    parsed.file_name = parameter(value, "filename").value_or("");
    has_disposition = true;
  }
  if (!has_disposition) refuse("has a part without content-disposition");
  parsed.data = part.substr(used);
  return parsed;
}

}  // namespace

std::vector<Part> parse_multipart(std::string_view content_type, std::string_view body,
                                  const MultipartLimits& limits) {
  const std::string delimiter = "--" + boundary_of(content_type);
  std::vector<Part> parts;
  // The first delimiter may stand at the very start; a preamble before it is skipped.
  std::size_t at = 0;
  if (!body.starts_with(delimiter)) {
    at = body.find("\r\n" + delimiter);
    if (at == std::string_view::npos) refuse("does not have its boundary");
    at += 2;
  }
  for (;;) {
    std::string_view rest = body.substr(at + delimiter.size());
    if (rest.starts_with("--")) return parts;
    const std::size_t line_end = rest.find("\r\n");
    if (line_end == std::string_view::npos || !trimmed(rest.substr(0, line_end)).empty())
      refuse("has a broken boundary line");
    const std::size_t begin = at + delimiter.size() + line_end + 2;
    const std::size_t end = body.find("\r\n" + delimiter, begin);
    if (end == std::string_view::npos) refuse("does not end with its boundary");
    if (parts.size() == limits.max_parts)
      throw Error(ErrorCode::kTooLarge, "the multipart body has more than " +
                                            std::to_string(limits.max_parts) + " parts");
    parts.push_back(parse_part(body.substr(begin, end - begin), limits));
    at = end + 2;
  }
}

}  // namespace bifocal::http
