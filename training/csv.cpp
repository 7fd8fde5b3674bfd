#include "csv.h"

#include <algorithm>
#include <utility>

namespace bifocal::training {
namespace {

class CsvParser {
 public:
  CsvParser(std::string_view text, char separator) : text_(text), separator_(separator) {}

  bool at_end() const { return next_ >= text_.size(); }

  CsvRow row() {
    CsvRow row{line_, {}, {}};
    for (;;) {
      row.fields.push_back(field(row.problem));
      if (at_end()) return row;
      const char delimiter = text_[next_++];
      if (delimiter == separator_) continue;
      ++line_;  // a line break: nothing else ends a field
      return row;
    }
  }

 private:
  bool at_line_break() const {
    return text_[next_] == '\n' || (text_[next_] == '\r' && text_.substr(next_, 2) == "\r\n");
  }

  std::string field(std::string& problem) {
    std::string value;
    if (!at_end() && text_[next_] == '"') {
      value = quoted(problem);
      if (!at_end() && text_[next_] != separator_ && !at_line_break())
        problem = "there is text after the closing quote";
    }
    while (!at_end() && text_[next_] != separator_ && !at_line_break()) value += text_[next_++];
    if (!at_end() && text_[next_] == '\r') ++next_;
    return value;
  }

  std::string quoted(std::string& problem) {
    std::string value;
    for (++next_; !at_end(); ++next_) {
      if (text_[next_] == '\n') ++line_;
      if (text_[next_] == '"') {
        ++next_;
        if (at_end() || text_[next_] != '"') return value;
      }
      value += text_[next_];
    }
    problem = "a quote is never closed";
    return value;
  }

  std::string_view text_;
  char separator_;
  std::size_t next_ = 0;
  std::size_t line_ = 1;
};

}  // namespace

std::vector<CsvRow> parse_csv(std::string_view text, char separator) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<CsvRow> rows;
  CsvParser parser(text, separator);
  while (!parser.at_end()) {
    CsvRow row = parser.row();
    if (row.fields.size() > 1 || !row.fields.front().empty() || !row.problem.empty())
      rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace bifocal::training
