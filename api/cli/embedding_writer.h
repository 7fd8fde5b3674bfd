#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>

#include "bifocal/values.h"
#include "result_writer.h"

namespace bifocal::cli {

enum class EmbeddingFormat {
  kByName,     // npy for *.npy, otherwise JSON lines
  kJsonLines,  // {"id":...,"embedding":[...]}
  kNpy,        // [records, embedding_size] float32, and FILE.ids.jsonl with a line a row
};

// Throws Error: kInvalidArgument (a matrix on standard output), kNotFound, kIo.
std::unique_ptr<ResultWriter<Embedding>> make_embedding_writer(const std::filesystem::path& path,
                                                               EmbeddingFormat format,
                                                               bool provenance,
                                                               std::size_t embedding_size);

}  // namespace bifocal::cli
