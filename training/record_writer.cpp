#include "training/record_writer.h"

#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "bifocal/error.h"
#include "core/files.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = 512;

// POSIX.1-1988 ustar, regular files only. What is unfinished is removed.
class TarFile {
 public:
  explicit TarFile(fs::path path)
      : path_(std::move(path)),
        unfinished_(path_.string() + ".unfinished"),
        file_(unfinished_, std::ios::binary | std::ios::trunc) {
    check();
  }
  ~TarFile() {
    std::error_code ignored;
    fs::remove(unfinished_, ignored);
  }
  TarFile(const TarFile&) = delete;
  TarFile& operator=(const TarFile&) = delete;

  void add(const std::string& name, const std::vector<std::byte>& data) {
    std::string header(kBlock, '\0');
    const auto put = [&header](std::size_t at, const std::string& text) {
      std::memcpy(header.data() + at, text.data(), text.size());
    };
    const auto octal = [](std::size_t value, int digits) {
      char text[16];
      std::snprintf(text, sizeof text, "%0*zo", digits, value);
      return std::string(text);
    };
    if (name.size() > 100)
      throw Error(ErrorCode::kInvalidArgument, name + ": is too long a name for a tar");
    put(0, name);
    put(100, "0000644");
    put(124, octal(data.size(), 11));
    put(148, "        ");  // its own place counts as spaces in the sum
    header[156] = '0';
    put(257, std::string("ustar\0"
                         "00",
                         8));
    std::size_t sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    put(148, octal(sum, 6) + '\0');
    file_ << header;
    file_.write(reinterpret_cast<const char*>(data.data()),
                static_cast<std::streamsize>(data.size()));
    file_ << std::string((kBlock - data.size() % kBlock) % kBlock, '\0');
    check();
  }

  void finish() {
    file_ << std::string(2 * kBlock, '\0');
    file_.close();
    check();
    fs::rename(unfinished_, path_);
  }

 private:
  void check() {
    if (!file_) throw Error(ErrorCode::kIo, unfinished_.string() + ": cannot be written");
  }

  fs::path path_, unfinished_;
  std::ofstream file_;
};

nlohmann::ordered_json json_of(const Record& record) {
  nlohmann::ordered_json json{{"id", record.id}};
  if (record.has_image()) json["image"] = record.image;
  if (!record.texts.empty()) json["captions"] = record.texts;
  if (!record.labels.empty()) json["labels"] = record.labels;
  for (const Contrast& contrast : record.contrasts)
    json["contrasts"].push_back(
        {{"kind", contrast.kind}, {"true", contrast.true_text}, {"false", contrast.false_text}});
  if (!record.split.empty()) json["split"] = record.split;
  return json;
}

}  // namespace

void write_records(const RecordSet& records, const fs::path& table, bool with_images,
                   const std::function<bool(std::size_t, std::size_t)>& progress) {
  std::error_code failure;
  if (table.has_parent_path()) fs::create_directories(table.parent_path(), failure);
  if (failure)
    throw Error(ErrorCode::kIo,
                table.parent_path().string() + ": cannot be made (" + failure.message() + ")");
  std::string lines;
  for (const Record& record : records.records()) lines += json_of(record).dump() + "\n";
  if (with_images) {
    TarFile tar(fs::path(table).replace_extension(".tar"));
    for (std::size_t i = 0; i < records.size(); ++i) {
      if (records[i].has_image()) tar.add(records[i].image, records.read_image(i));
      if (progress && !progress(i + 1, records.size()))
        throw Error(ErrorCode::kCancelled, "interrupted");
    }
    tar.finish();
  }
  core::write_file_atomically(table, lines);
}

}  // namespace bifocal::training
