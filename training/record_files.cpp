// RecordSet::open(): what each layout of files holds.
#include <algorithm>
#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "bifocal/error.h"
#include "core/data_uri.h"
#include "core/files.h"
#include "csv.h"
#include "file_source.h"
#include "text/utf8.h"
#include "training/records.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxTextFile = std::size_t{1} << 20;  // of one caption's

std::string lower_suffix(const fs::path& path) {
  std::string suffix = path.extension().string();
  for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return suffix;
}
bool is_json_lines(const fs::path& path) {
  const std::string suffix = lower_suffix(path);
  return suffix == ".jsonl" || suffix == ".ndjson";
}
bool is_table(const fs::path& path) {
  const std::string suffix = lower_suffix(path);
  return is_json_lines(path) || suffix == ".csv" || suffix == ".tsv";
}
bool is_photograph(const fs::path& path) {
  const std::string suffix = lower_suffix(path);
  return suffix == ".jpg" || suffix == ".jpeg" || suffix == ".png" || suffix == ".webp";
}
bool is_other_photograph(const fs::path& path) {
  const std::string suffix = lower_suffix(path);
  for (const char* other : {".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif"})
    if (suffix == other) return true;
  return false;
}
bool is_split(const std::string& name) {
  const std::string split = canonical_split(name);
  return split == "train" || split == "validation" || split == "test";
}
bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos;
}

[[noreturn]] void unusable(const std::string& reason) {
  throw Error(ErrorCode::kInvalidItem, reason);
}

// What a line of a table says, before its image is looked for.
struct Row {
  Record record;
  bool may_have_several_labels = false;
};

class TableReader {
 public:
  // `sources`: where images are looked for, in this order. `split`: of records that name none.
  TableReader(RecordSet& set, const RecordOptions& options, std::vector<FileSource> sources,
              std::string name, std::string split)
      : set_(set),
        options_(options),
        sources_(std::move(sources)),
        name_(std::move(name)),
        split_(std::move(split)) {}

  void read_json_lines(const std::string& text) {
    std::size_t number = 0;
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find('\n', begin), text.size());
      const std::string line = text.substr(begin, end - begin);
      begin = end + 1;
      ++number;
      if (!is_blank(line)) add(number, [&] { return from_json(line); });
    }
  }

  void read_csv(const std::string& text, char separator) {
    const std::vector<CsvRow> rows = parse_csv(text, separator);
    if (rows.empty()) return;
    const std::vector<std::string>& header = rows.front().fields;
    const auto known = [&](const std::string& column) {
      return column == options_.image_key || column == options_.text_key;
    };
    if (std::none_of(header.begin(), header.end(), known))
      throw Error(ErrorCode::kInvalidItem, name_ +
                                               ": its first line must name the columns, one of "
                                               "them \"" +
                                               options_.image_key + "\" or \"" + options_.text_key +
                                               "\"");
    for (std::size_t i = 1; i < rows.size(); ++i)
      add(rows[i].line, [&] { return from_csv(header, rows[i]); });
  }

 private:
  template <typename MakeRow>
  void add(std::size_t line, const MakeRow& make_row) {
    const std::string where = name_ + ":" + std::to_string(line);
    try {
      Row row = make_row();
      Record& record = row.record;
      record.split = record.split.empty() ? split_ : canonical_split(record.split);
      if (!options_.split.empty() && record.split != canonical_split(options_.split)) return;
      std::erase_if(record.texts, is_blank);
      if (!record.has_image() && record.texts.empty()) unusable("has neither an image nor a text");
      if (record.id.empty()) record.id = is_data_uri_image(record) ? where : record.image;
      if (record.id.empty()) record.id = where;
      ImageReader reader = record.has_image() ? find_image(record.image) : ImageReader{};
      set_.add(std::move(record), std::move(reader));
      if (row.may_have_several_labels) set_.set_multi_label(true);
    } catch (const Error& error) {
      set_.skip(where, error.what());
    }
  }

  static bool is_data_uri_image(const Record& record) { return core::is_data_uri(record.image); }

  ImageReader find_image(const std::string& name) const {
    if (core::is_data_uri(name))
      return
          [name, limit = options_.max_image_bytes] { return core::decode_data_uri(name, limit); };
    for (const FileSource& source : sources_)
      if (ImageReader reader = source.reader(name, options_.max_image_bytes)) return reader;
    std::string places;
    for (const FileSource& source : sources_)
      places += (places.empty() ? "" : ", ") + source.path().string();
    unusable("there is no image \"" + name + "\" in " + places);
  }

  static std::string scalar(const nlohmann::json& value, const std::string& key) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_number_integer() || value.is_boolean()) return value.dump();
    unusable(key + " must be a string or a whole number");
  }
  static std::string one(const nlohmann::json& object, const std::string& key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? "" : scalar(*found, key);
  }
  static void append(std::vector<std::string>& to, const nlohmann::json& object,
                     const std::string& key) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return;
    if (!found->is_array()) {
      to.push_back(scalar(*found, key));
      return;
    }
    for (const nlohmann::json& value : *found) to.push_back(scalar(value, key));
  }

  static std::vector<Contrast> contrasts(const nlohmann::json& object) {
    std::vector<Contrast> contrasts;
    const auto found = object.find("contrasts");
    if (found == object.end() || found->is_null()) return contrasts;
    if (!found->is_array()) unusable("contrasts must be an array");
    for (const nlohmann::json& contrast : *found) {
      if (!contrast.is_object()) unusable("contrasts must hold objects");
      contrasts.push_back({one(contrast, "kind"), one(contrast, "true"), one(contrast, "false")});
      if (is_blank(contrasts.back().true_text) || is_blank(contrasts.back().false_text))
        unusable("a contrast needs both \"true\" and \"false\"");
    }
    return contrasts;
  }

  Row from_json(const std::string& line) const {
    const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
    if (object.is_discarded()) unusable("is not JSON in UTF-8");
    if (!object.is_object()) unusable("is not a JSON object");
    Row row;
    row.record.id = one(object, "id");
    row.record.image = one(object, options_.image_key);
    row.record.split = one(object, "split");
    for (const std::string& key : text_keys()) append(row.record.texts, object, key);
    append(row.record.labels, object, options_.label_key);
    append(row.record.labels, object, "labels");
    row.record.contrasts = contrasts(object);
    row.may_have_several_labels = object.contains("labels");
    return row;
  }

  Row from_csv(const std::vector<std::string>& header, const CsvRow& csv) const {
    if (!csv.problem.empty()) unusable(csv.problem);
    if (csv.fields.size() != header.size())
      unusable("has " + std::to_string(csv.fields.size()) + " fields where the first line names " +
               std::to_string(header.size()));
    Row row;
    const std::vector<std::string> texts = text_keys();
    for (std::size_t i = 0; i < header.size(); ++i) {
      const std::string& column = header[i];
      const std::string& value = csv.fields[i];
      if (text::find_invalid_utf8(value)) unusable("column " + column + " is not UTF-8");
      if (column == "labels") row.may_have_several_labels = true;
      if (value.empty()) continue;
      if (column == "id") row.record.id = value;
      if (column == options_.image_key) row.record.image = value;
      if (column == "split") row.record.split = value;
      if (std::find(texts.begin(), texts.end(), column) != texts.end())
        row.record.texts.push_back(value);
      if (column == options_.label_key) row.record.labels.push_back(value);
      if (column == "labels") append_separated(row.record.labels, value);
    }
    return row;
  }

  void append_separated(std::vector<std::string>& labels, const std::string& value) const {
    for (std::size_t begin = 0; begin <= value.size();) {
      const std::size_t end = std::min(value.find(options_.label_separator, begin), value.size());
      if (end > begin) labels.push_back(value.substr(begin, end - begin));
      begin = end + 1;
    }
  }

  std::vector<std::string> text_keys() const {
    std::vector<std::string> keys{"text", "texts", "caption", "captions"};
    if (std::find(keys.begin(), keys.end(), options_.text_key) == keys.end())
      keys.assign(1, options_.text_key);  // "text" may then be anything
    return keys;
  }

  RecordSet& set_;
  const RecordOptions& options_;
  std::vector<FileSource> sources_;
  std::string name_;
  std::string split_;
};

void read_table(RecordSet& set, const RecordOptions& options, std::vector<FileSource> sources,
                const fs::path& name, const std::string& text, const std::string& split) {
  TableReader reader(set, options, std::move(sources), name.string(), split);
  if (is_json_lines(name))
    reader.read_json_lines(text);
  else
    reader.read_csv(text, lower_suffix(name) == ".tsv" ? '\t' : ',');
}

// A cut-off archive lists what it lost once, beside the records that miss it.
void list_damage(RecordSet& set, const std::vector<FileSource>& sources) {
  for (const FileSource& source : sources)
    if (source.archive() && !source.archive()->damage().empty())
      set.skip(source.path().string(), source.archive()->damage());
}

// Where the images of a table in a directory are; see RecordOptions::images.
std::vector<FileSource> image_sources(const fs::path& table, const RecordOptions& options) {
  if (!options.images.empty()) return {FileSource::open(options.images)};
  const fs::path directory = table.has_parent_path() ? table.parent_path() : fs::path(".");
  std::vector<FileSource> sources;
  const fs::path own = fs::path(table).replace_extension(".tar");
  std::error_code failure;
  if (fs::is_regular_file(own, failure)) sources.push_back(FileSource::open(own));
  sources.push_back(FileSource::open(directory));
  std::vector<fs::path> tars;
  for (const auto& entry : fs::directory_iterator(directory, failure))
    if (lower_suffix(entry.path()) == ".tar") tars.push_back(entry.path());
  if (tars.size() == 1 && tars.front().filename() != own.filename())
    sources.push_back(FileSource::open(tars.front()));
  return sources;
}

std::string as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    if (!is_blank(line)) lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

// [split/][.../class/]name.jpg[, name.txt]
void read_photographs(RecordSet& set, const RecordOptions& options, const FileSource& source,
                      const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const fs::path path(name);
    if (!is_photograph(path) && !is_other_photograph(path)) continue;
    Record record;
    record.id = record.image = name;
    std::vector<std::string> folders;
    for (const fs::path& part : path.parent_path()) folders.push_back(part.string());
    if (!folders.empty() && is_split(folders.front())) {
      record.split = canonical_split(folders.front());
      folders.erase(folders.begin());
    }
    if (!options.split.empty() && record.split != canonical_split(options.split)) continue;
    if (!folders.empty()) record.labels.push_back(folders.back());
    try {
      if (is_other_photograph(path)) unusable("is not a JPEG, PNG or WebP");
      const std::string caption = fs::path(path).replace_extension(".txt").generic_string();
      if (const ImageReader reader = source.reader(caption, kMaxTextFile)) {
        const std::string captions = as_text(reader());
        if (text::find_invalid_utf8(captions)) unusable("its caption is not UTF-8");
        record.texts = lines_of(captions);
      }
      ImageReader reader = source.reader(name, options.max_image_bytes);
      if (!reader) unusable("cannot be found any more");
      set.add(std::move(record), std::move(reader));
    } catch (const Error& error) {
      set.skip((source.path() / name).string(), error.what());
    }
  }
}

// A directory or a tar.
void read_collection(RecordSet& set, const RecordOptions& options, const FileSource& source) {
  const std::vector<std::string> names = source.names();
  std::vector<std::string> tables, split_tables;
  for (const std::string& name : names) {
    if (name.find('/') != std::string::npos || !is_table(name)) continue;
    tables.push_back(name);
    if (is_split(fs::path(name).stem().string())) split_tables.push_back(name);
  }
  if (!split_tables.empty()) tables = split_tables;
  if (split_tables.empty() && tables.size() > 1)
    throw Error(ErrorCode::kInvalidArgument, source.path().string() + ": holds several tables (" +
                                                 tables[0] + ", " + tables[1] +
                                                 "): name the one to read");
  if (tables.empty()) {
    list_damage(set, {source});
    return read_photographs(set, options, source, names);
  }
  for (const std::string& table : tables) {
    const std::string stem = fs::path(table).stem().string();
    const std::string split = is_split(stem) ? canonical_split(stem) : "";
    std::vector<FileSource> sources;
    if (source.is_directory())
      sources = image_sources(source.path() / table, options);
    else
      sources.push_back(options.images.empty() ? source : FileSource::open(options.images));
    list_damage(set, sources);
    const ImageReader reader = source.reader(table, std::numeric_limits<std::size_t>::max());
    if (!reader) throw Error(ErrorCode::kNotFound, (source.path() / table).string() + ": is gone");
    read_table(set, options, std::move(sources), source.path() / table, as_text(reader()), split);
  }
}

void require_enough(const RecordSet& set, const RecordOptions& options, const fs::path& path) {
  const std::size_t skipped = set.skipped().size();
  std::string examples;
  for (std::size_t i = 0; i < std::min<std::size_t>(skipped, 3); ++i)
    examples += "; " + set.skipped()[i].where + " " + set.skipped()[i].reason;
  if (set.empty())
    throw Error(ErrorCode::kInvalidItem,
                path.string() + ": holds no record" +
                    (options.split.empty() ? "" : " of the split \"" + options.split + "\"") +
                    (skipped > 0 ? " that can be used" : "") + examples);
  const auto share = static_cast<double>(skipped) / static_cast<double>(skipped + set.size());
  if (share > options.max_skipped_share)
    throw Error(ErrorCode::kInvalidItem,
                path.string() + ": " + std::to_string(skipped) + " of " +
                    std::to_string(skipped + set.size()) +
                    " records cannot be used, more than the share that is let pass" + examples);
}

}  // namespace

RecordSet RecordSet::open(const fs::path& path, const RecordOptions& options) {
  RecordSet set;
  std::error_code failure;
  if (!fs::exists(path, failure))
    throw Error(ErrorCode::kNotFound, path.string() + ": there is no such file or directory");
  if (is_table(path)) {
    const std::string stem = path.stem().string();
    std::vector<FileSource> sources = image_sources(path, options);
    list_damage(set, sources);
    read_table(set, options, std::move(sources), path, core::read_text_file(path),
               is_split(stem) ? canonical_split(stem) : "");
  } else if (fs::is_directory(path, failure) || lower_suffix(path) == ".tar") {
    read_collection(set, options, FileSource::open(path));
  } else {
    throw Error(ErrorCode::kUnsupported,
                path.string() + ": is not a directory, .tar, .jsonl, .csv or .tsv");
  }
  require_enough(set, options, path);
  return set;
}

}  // namespace bifocal::training
