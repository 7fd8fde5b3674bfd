#include "records.h"

#include <array>
#include <string_view>
#include <system_error>
#include <utility>

#include "bifocal/error.h"
#include "core/data_uri.h"
#include "core/files.h"

namespace bifocal::cli {
namespace {

namespace fs = std::filesystem;

// A chunk: enough to fill batches, few enough to see output soon and to hold in memory.
constexpr std::size_t kChunkRecords = 256;
constexpr std::size_t kChunkBytes = std::size_t{64} << 20;
// What a line may have beside its image: an id, a text and the JSON around them.
constexpr std::size_t kLineAllowance = std::size_t{1} << 20;

constexpr std::array<std::string_view, 3> kKeys{"id", "image", "text"};

[[noreturn]] void invalid(const std::string& message, std::string detail = {}) {
  throw Error(ErrorCode::kInvalidItem, message, std::move(detail));
}

std::optional<std::string> string_or_absent(const nlohmann::json& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end() || found->is_null()) return std::nullopt;
  if (!found->is_string()) invalid(std::string(key) + " must be a string");
  return found->get<std::string>();
}

void check_keys(const nlohmann::json& record) {
  for (const auto& [key, unused] : record.items()) {
    bool known = false;
    for (const std::string_view expected : kKeys) known = known || key == expected;
    if (!known) invalid("there is no key \"" + key + "\"; a record has id, image and text");
  }
}

bool is_web_address(const std::string& reference) {
  return reference.starts_with("http://") || reference.starts_with("https://");
}

std::vector<std::byte> read_image_file(const fs::path& path, std::size_t max_bytes) {
  const auto too_large = [&] {
    return Error(ErrorCode::kImageTooLarge, path.string() + ": has more than " +
                                                std::to_string(max_bytes) + " bytes (--max-bytes)");
  };
  std::error_code no_size;
  if (const auto size = fs::file_size(path, no_size); !no_size && size > max_bytes)
    throw too_large();
  try {
    return core::read_binary_file(path, max_bytes);
  } catch (const Error& error) {
    // What has no size beforehand, such as a pipe.
    if (error.code() == ErrorCode::kInvalidArgument) throw too_large();
    throw;
  }
}

}  // namespace

void add_item_options(CLI::App& app, ItemOptions& options) {
  app.add_option("--image", options.image, "A JPEG, PNG or WebP file, or a data URI")
      ->type_name("FILE");
  app.add_option("--text", options.text, "A text in UTF-8")->type_name("TEXT");
  app.add_option("--input", options.input,
                 "Many items, one JSON object a line: {\"id\", \"image\", \"text\"};\n"
                 "- reads standard input")
      ->type_name("FILE");
}

void require_items(const ItemOptions& options) {
  const bool single = options.image || options.text;
  if (single == !options.input.empty())
    throw Error(ErrorCode::kInvalidArgument,
                single ? "--input brings its own items: leave out --image and --text"
                       : "nothing to do: give --image, --text or both, or --input FILE");
}

RecordReader::RecordReader(const ItemOptions& options, std::size_t max_image_bytes,
                           const Interrupt& interrupt)
    : options_(options), max_image_bytes_(max_image_bytes), interrupt_(interrupt) {
  if (options.input.empty()) return;
  if (options.input != "-") directory_ = options.input.parent_path();
  lines_.emplace(options.input, max_image_bytes / 3 * 4 + kLineAllowance, interrupt);
}

std::vector<Record> RecordReader::next_chunk() {
  std::vector<Record> chunk;
  if (!lines_) {
    if (std::exchange(single_item_taken_, true)) return chunk;
    Item item;
    item.text = options_.text;
    if (options_.image) item.image = read_image(*options_.image);
    chunk.push_back({"1", std::move(item)});
    return chunk;
  }
  std::string line;
  std::size_t bytes = 0;
  while (chunk.size() < kChunkRecords && bytes < kChunkBytes && !interrupt_.requested()) {
    if (!chunk.empty() && lines_->would_wait()) break;
    const LineReader::Outcome outcome = lines_->next(line);
    if (outcome == LineReader::Outcome::kEnd) break;
    if (outcome == LineReader::Outcome::kTooLong) {
      chunk.push_back({nullptr, Error(ErrorCode::kInvalidItem,
                                      "line " + std::to_string(lines_->line_number()) +
                                          " is longer than an image of --max-bytes needs")});
      continue;
    }
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    chunk.push_back(parse(line));
    if (const Result<Item>& item = chunk.back().item; item.ok())
      bytes += (item.value().image ? item.value().image->size() : 0) +
               (item.value().text ? item.value().text->size() : 0);
  }
  return chunk;
}

Record RecordReader::parse(const std::string& line) const {
  const std::string number = std::to_string(lines_->line_number());
  nlohmann::json record;
  try {
    record = nlohmann::json::parse(line);
  } catch (const nlohmann::json::exception& failure) {
    return {nullptr, Error(ErrorCode::kInvalidItem, "line " + number + " is not JSON in UTF-8",
                           failure.what())};
  }
  if (!record.is_object())
    return {nullptr, Error(ErrorCode::kInvalidItem, "line " + number + " is not a JSON object")};

  nlohmann::json id = number;
  if (const auto found = record.find("id"); found != record.end() && !found->is_null()) {
    if (!found->is_string() && !found->is_number_integer())
      return {number, Error(ErrorCode::kInvalidItem, "id must be a string or a whole number")};
    id = *found;
  }
  try {
    return {id, make_item(record)};
  } catch (const Error& error) {
    return {id, error};
  }
}

Item RecordReader::make_item(const nlohmann::json& record) const {
  check_keys(record);
  Item item;
  item.text = string_or_absent(record, "text");
  if (const auto reference = string_or_absent(record, "image")) item.image = read_image(*reference);
  return item;
}

std::vector<std::byte> RecordReader::read_image(const std::string& reference) const {
  if (core::is_data_uri(reference)) return core::decode_data_uri(reference, max_image_bytes_);
  if (is_web_address(reference))
    throw Error(ErrorCode::kUnsupported,
                "images are not fetched from the web; download it, or give a data URI");
  if (reference.empty() || reference.find('\0') != std::string::npos)
    invalid("image is neither a path nor a data URI");
  return read_image_file(directory_ / reference, max_image_bytes_);
}

std::optional<double> RecordReader::fraction_read() const noexcept {
  return lines_ ? lines_->fraction_read() : std::nullopt;
}

}  // namespace bifocal::cli
