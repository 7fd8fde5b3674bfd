#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::training {

struct CsvRow {
  std::size_t line = 0;  // where it begins, from 1
  std::vector<std::string> fields;
  std::string problem;  // why the row cannot be read; empty: it can
};

// Rows as RFC 4180 has them: fields between separators, quoted ones with line breaks, separators
// and doubled quotes inside; lines end with CRLF or LF. A byte order mark is skipped, and so are
// blank lines.
std::vector<CsvRow> parse_csv(std::string_view text, char separator);

}  // namespace bifocal::training
