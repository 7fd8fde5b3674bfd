#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::training {

// Two texts of one image that differ in one respect: the first is true of it, the second is not.
struct Contrast {
  std::string kind;  // what they differ in: "colour", "count"
  std::string true_text;
  std::string false_text;
};

// One item of a data set. Its image is read on demand: RecordSet::read_image().
struct Record {
  std::string id;                   // the data's own, else the image's path, else "file:line"
  std::string image;                // as the data names it; empty: no image
  std::vector<std::string> texts;   // UTF-8: captions of the image, or the text to classify
  std::vector<std::string> labels;  // none, one, or many
  std::vector<Contrast> contrasts;  // hard negatives, where the data brings or something made them
  std::string split;                // as canonical_split() writes it; empty: the data says nothing

  bool has_image() const noexcept { return !image.empty(); }
};

// A record that could not be used.
struct Skipped {
  std::string where;  // "dev.jsonl:17", "photos/cat/3.jpg"
  std::string reason;
};

struct RecordOptions {
  // Where the images of a table are: a tar or a directory. Empty: a tar of the table's own name
  // beside it (dev.jsonl, dev.tar), else the table's directory, else the only tar in there.
  std::filesystem::path images;
  std::string split;  // keep the records of this split alone; empty: all
  // What a table calls its columns or keys. A text may also stand under texts, caption or captions,
  // labels of a record with several under labels: a JSON array, or in a CSV one field, separated.
  std::string image_key = "image";
  std::string text_key = "text";
  std::string label_key = "label";
  char label_separator = '|';
  std::size_t max_image_bytes = 20'000'000;
  double max_skipped_share = 0.1;  // of the records found; more is an Error
};

// The encoded bytes of one image. Throws Error. Thread-safe.
using ImageReader = std::function<std::vector<std::byte>()>;

// Records in a fixed order: that of the table, or of the sorted paths. A value type; const members
// are thread-safe. Subsets share the open archive.
class RecordSet {
 public:
  RecordSet() = default;

  // Reads all records of
  //  - a JSONL file: {"image", "text"|"texts"|"caption"|"captions", "label"|"labels", "split",
  //    "id", "contrasts": [{"kind", "true", "false"}]}; other keys are left alone. An image may be
  //    a data URI;
  //  - a CSV file (RFC 4180; .tsv: separated by tabs) whose first line names the same columns;
  //  - a tar, read by an index of its members made once: with a JSONL or CSV inside, that; else as
  //    a directory is;
  //  - a directory with tables named after splits (train.jsonl, val.csv), or with one table; else
  //    photographs with a class a directory (daisy/1.jpg), perhaps under splits (train/daisy/1.jpg)
  //    and perhaps with a caption beside (daisy/1.txt, one a line).
  // A record that cannot be used (bad JSON, no such member, nothing in it, not UTF-8) is skipped
  // and listed. Throws Error: kNotFound, kIo, kUnsupported (another format), kInvalidItem (too many
  // skipped, or none left).
  static RecordSet open(const std::filesystem::path& path, const RecordOptions& options = {});

  // `read_image` may be empty only where the record has no image.
  void add(Record record, ImageReader read_image = {});
  void skip(std::string where, std::string reason);

  std::size_t size() const noexcept { return records_.size(); }
  bool empty() const noexcept { return records_.empty(); }
  const Record& operator[](std::size_t index) const { return records_[index]; }
  const std::vector<Record>& records() const noexcept { return records_; }
  const std::vector<Skipped>& skipped() const noexcept { return skipped_; }
  // Whether a record may have several labels: some came under "labels".
  bool multi_label() const noexcept { return multi_label_; }
  void set_multi_label(bool multi_label) noexcept { multi_label_ = multi_label; }
  // Every label, each once, sorted by bytes.
  std::vector<std::string> labels() const;

  // The encoded bytes of the image of records()[index]. Throws Error: kInvalidArgument (it has
  // none), kNotFound, kIo, kImageTooLarge.
  std::vector<std::byte> read_image(std::size_t index) const;

  // The records at `indices`, in that order; skipped() stays with the whole.
  RecordSet subset(std::span<const std::size_t> indices) const;
  // Those whose split is `split` (as canonical_split() writes it).
  RecordSet of_split(std::string_view split) const;
  // Records of one image become one record with all of their texts and contrasts, at the place of
  // the first: for tables with a caption a line.
  RecordSet grouped_by_image() const;

 private:
  std::vector<Record> records_;
  std::vector<ImageReader> images_;  // one a record
  std::vector<Skipped> skipped_;
  bool multi_label_ = false;
};

// "train", "validation" (val, valid, dev, development) and "test" (testing); else in lower case.
std::string canonical_split(std::string_view name);

struct TrainValidation {
  std::vector<std::size_t> train;       // ascending
  std::vector<std::size_t> validation;  // ascending
};
// For data without splits of its own: about `validation_share` of the records, of each label the
// same share (to the nearest record, at least one of each label with two or more); by its rarest
// where a record has several. Records of one image stay together. The same on every machine for the
// same records and seed. Throws Error(kInvalidArgument) unless 0 < validation_share < 1.
TrainValidation split_train_validation(const RecordSet& records, double validation_share,
                                       std::uint64_t seed);

}  // namespace bifocal::training
