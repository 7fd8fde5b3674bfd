#include "embedding_writer.h"

#include <limits>
#include <vector>

#include "npy_writer.h"

namespace bifocal::cli {
namespace {

void append_embedding(std::string& line, const Embedding& embedding) {
  line += "\"embedding\":";
  append_numbers(line, embedding.values);
}

void append_embedding_and_provenance(std::string& line, const Embedding& embedding) {
  append_embedding(line, embedding);
  line += ",\"provenance\":";
  append_provenance(line, embedding.provenance);
}

// The matrix, with NaN where an item failed, and beside it a line a row: its id, and its error.
class NpyEmbeddingWriter : public ResultWriter<Embedding> {
 public:
  NpyEmbeddingWriter(const std::filesystem::path& path, bool provenance, std::size_t size)
      : matrix_(path, size),
        ids_(path.string() + ".ids.jsonl"),
        provenance_(provenance),
        missing_(size, std::numeric_limits<float>::quiet_NaN()) {}

  void write(const nlohmann::json& id, const Result<Embedding>& result) override {
    matrix_.write_row(result.ok() ? result.value().values : missing_);
    std::string line = "{\"id\":";
    append_json(line, id);
    if (!result.ok()) {
      line += ",\"error\":";
      append_error(line, result.error());
    } else if (provenance_) {
      line += ",\"provenance\":";
      append_provenance(line, result.value().provenance);
    }
    ids_.write(line + "}\n");
  }

  void flush() override {
    matrix_.flush();
    ids_.flush();
  }

  // The ids first: where there is a new matrix, its ids are there too.
  void commit() override {
    ids_.commit();
    matrix_.commit();
  }

  // A matrix without its number of rows is of no use to anyone.
  std::filesystem::path keep_unfinished() override { return {}; }

 private:
  NpyWriter matrix_;
  Output ids_;
  bool provenance_;
  std::vector<float> missing_;
};

}  // namespace

std::unique_ptr<ResultWriter<Embedding>> make_embedding_writer(const std::filesystem::path& path,
                                                               EmbeddingFormat format,
                                                               bool provenance,
                                                               std::size_t embedding_size) {
  if (format == EmbeddingFormat::kByName)
    format = path.extension() == ".npy" ? EmbeddingFormat::kNpy : EmbeddingFormat::kJsonLines;
  if (format == EmbeddingFormat::kNpy)
    return std::make_unique<NpyEmbeddingWriter>(path, provenance, embedding_size);
  return std::make_unique<JsonLinesWriter<Embedding>>(
      path, provenance ? append_embedding_and_provenance : append_embedding);
}

}  // namespace bifocal::cli
