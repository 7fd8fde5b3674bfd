#include "training/evaluation/section.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace bifocal::training {
namespace {

std::string with_one_digit(double value) {
  if (std::isnan(value)) return "-";
  char text[32];
  const bool whole = value == std::floor(value) && std::abs(value) >= 1000;
  std::snprintf(text, sizeof text, whole ? "%.0f" : "%.1f", value);
  return text;
}

std::string cell_text(const std::optional<Estimate>& cell) {
  if (!cell) return "";
  std::string text = with_one_digit(cell->value);
  if (!std::isnan(cell->low))
    text += " (" + with_one_digit(cell->low) + " to " + with_one_digit(cell->high) + ")";
  return text;
}

nlohmann::ordered_json cell_json(const Estimate& cell) {
  if (std::isnan(cell.low)) return cell.value;
  return {{"value", cell.value}, {"low", cell.low}, {"high", cell.high}};
}

}  // namespace

nlohmann::ordered_json Section::to_json() const {
  nlohmann::ordered_json json{{"title", title}};
  for (const Row& row : rows)
    for (std::size_t c = 0; c < columns.size(); ++c)
      if (row.cells.at(c)) json["rows"][row.name][columns[c]] = cell_json(*row.cells[c]);
  if (!note.empty()) json["note"] = note;
  if (!details.is_null()) json["details"] = details;
  return json;
}

std::string Section::to_text() const {
  std::vector<std::vector<std::string>> lines{{""}};
  lines[0].insert(lines[0].end(), columns.begin(), columns.end());
  for (const Row& row : rows) {
    std::vector<std::string> line{row.name};
    for (const auto& cell : row.cells) line.push_back(cell_text(cell));
    lines.push_back(std::move(line));
  }
  std::vector<std::size_t> widths(columns.size() + 1);
  for (const auto& line : lines)
    for (std::size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], line[c].size());
  std::string text = title + "\n";
  for (const auto& line : lines) {
    std::string row = "  ";
    for (std::size_t c = 0; c < line.size(); ++c) {
      const std::string padding(widths[c] - line[c].size() + 2, ' ');
      row += c == 0 ? line[c] + padding : padding + line[c];
    }
    while (row.ends_with(' ')) row.pop_back();
    text += row + "\n";
  }
  if (!note.empty()) text += "  " + note + "\n";
  return text;
}

}  // namespace bifocal::training
