#pragma once

#include <CLI/CLI.hpp>
#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bifocal/result.h"
#include "bifocal/values.h"
#include "interrupt.h"
#include "line_reader.h"

namespace bifocal::cli {

// Where the items of a command come from: one of the command line, or many of a JSONL file.
struct ItemOptions {
  std::optional<std::string> image;  // a path or a data URI
  std::optional<std::string> text;
  std::filesystem::path input;  // "-": standard input; empty: the item of --image and --text
};

// --image, --text and --input
void add_item_options(CLI::App& app, ItemOptions& options);
// Throws Error(kInvalidArgument) unless there is one item or one input, and not both.
void require_items(const ItemOptions& options);

// An item under the id that the caller gave it, or why it could not be had.
struct Record {
  nlohmann::json id;  // a string, a whole number, or null where a line could not be read
  Result<Item> item;
};

// Reads one item, or a file of them in chunks that bound memory. The lines of the file are
// {"id", "image", "text"}: id a string or a whole number (absent: the line's number, as a string),
// image a data URI or a path as seen from the file's directory. Blank lines are no records.
class RecordReader {
 public:
  // Throws Error: kNotFound, kIo.
  RecordReader(const ItemOptions& options, std::size_t max_image_bytes, const Interrupt& interrupt);

  // The next records in order; none at the end, or where the user interrupted. A chunk also ends
  // where the input has nothing more for now, so that a program at the other end of a pipe can
  // have its answers before it writes on.
  std::vector<Record> next_chunk();
  // From 0 to 1; nothing where the input has no known size.
  std::optional<double> fraction_read() const noexcept;

 private:
  Record parse(const std::string& line) const;
  Item make_item(const nlohmann::json& record) const;
  std::vector<std::byte> read_image(const std::string& reference) const;

  ItemOptions options_;
  std::size_t max_image_bytes_;
  const Interrupt& interrupt_;
  std::filesystem::path directory_;  // that relative image paths start from
  std::optional<LineReader> lines_;  // absent: a single item
  bool single_item_taken_ = false;
};

}  // namespace bifocal::cli
