#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "training/evaluation/bootstrap.h"

namespace bifocal::training {

// One table of an evaluation: what a person reads, and what a program reads, from one source.
struct Section {
  struct Row {
    std::string name;
    std::vector<std::optional<Estimate>> cells;  // one a column; empty: does not apply
  };

  std::string name;   // of its key in JSON: "retrieval"
  std::string title;  // above the table
  std::vector<std::string> columns;
  std::vector<Row> rows;
  std::string note;                // below the table; empty: none
  nlohmann::ordered_json details;  // what is too much for a table: a confusion matrix; null: none

  // {"title", "rows": {row: {column: {"value", "low", "high"} or a number}}, "note", "details"}
  nlohmann::ordered_json to_json() const;
  // Aligned columns, "31.0 (28.1 to 33.9)", each line ended.
  std::string to_text() const;
};

}  // namespace bifocal::training
