#include "model_card.h"

#include <array>
#include <cstddef>

namespace bifocal::cli {
namespace {

constexpr std::array<std::string_view, 3> kQualityHeadings{"quality", "evaluation", "results"};

std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  std::string_view line = rest.substr(0, end);
  rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kAround = " \t\"'\n";
  const std::size_t begin = text.find_first_not_of(kAround);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kAround) - begin + 1);
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

// 2 of "## Quality"; 0 of what is no heading.
std::size_t heading_level(std::string_view line) {
  const std::size_t level = line.find_first_not_of('#');
  return level != std::string_view::npos && level > 0 && line[level] == ' ' ? level : 0;
}

bool is_quality_heading(std::string_view line) {
  const std::string title = lower(trimmed(line.substr(heading_level(line))));
  for (const std::string_view heading : kQualityHeadings)
    if (title == heading) return true;
  return false;
}

}  // namespace

std::string licence_of_card(std::string_view card) {
  std::string licence;
  std::string name;
  if (trimmed(take_line(card)) != "---") return "unknown";
  while (!card.empty()) {
    const std::string_view line = take_line(card);
    if (line == "---") break;
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, colon);
    if (key == "license") licence = trimmed(line.substr(colon + 1));
    if (key == "license_name") name = trimmed(line.substr(colon + 1));
  }
  if ((licence.empty() || licence == "other") && !name.empty()) return name;
  return licence.empty() ? "unknown" : licence;
}

std::string quality_of_card(std::string_view card) {
  std::size_t level = 0;
  std::string section;
  while (!card.empty()) {
    const std::string_view line = take_line(card);
    const std::size_t heading = heading_level(line);
    if (level == 0) {
      if (heading > 0 && is_quality_heading(line)) level = heading;
      continue;
    }
    if (heading > 0 && heading <= level) break;
    section.append(line).append("\n");
  }
  const std::string_view body = trimmed(section);
  return std::string(body);
}

}  // namespace bifocal::cli
