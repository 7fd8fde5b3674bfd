#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/mapped_file.h"
#include "hnsw_graph.h"

namespace bifocal::http {

struct Neighbour {
  std::string id;
  float score = 0;  // the dot product: the cosine, of vectors of length 1
};

// Vectors by nearness: a file mapped into memory, and what was added since. Exact, but that a file
// of many rows is searched through an HNSW graph once that is built, and the candidates are then
// scored exactly. Thread-safe: searches run side by side, and wait only while something is added.
class SearchIndex {
 public:
  struct Settings {
    std::size_t embedding_size = 0;
    std::size_t capacity = 100'000;       // of what is added
    std::size_t hnsw_threshold = 50'000;  // rows of the file from which a graph is built
  };

  explicit SearchIndex(const Settings& settings);
  // For the same vectors, with another file perhaps: what is added to either is in both.
  SearchIndex(const Settings& settings, const SearchIndex& shares_added);
  ~SearchIndex();  // waits for a graph that is being built
  SearchIndex(const SearchIndex&) = delete;
  SearchIndex& operator=(const SearchIndex&) = delete;

  // What `bifocal embed --output vectors.npy` wrote, with its ids beside it; once, before anything
  // else. Rows that are not numbers, of records that failed, are left out. Throws Error: kNotFound,
  // kIo, kInvalidArgument saying what does not fit.
  void load(const std::filesystem::path& vectors);

  // Replaces what was added under the same id; a file's row of that id is hidden by it. Throws
  // Error(kTooLarge) where the index is full, kInvalidArgument where the vector has another size.
  void add(const std::string& id, std::span<const float> vector);
  bool remove(std::string_view id);  // of what was added; false where it was not there

  // The k nearest, best first; of equal scores the older. Throws Error(kInvalidArgument).
  std::vector<Neighbour> search(std::span<const float> query, std::size_t k) const;

  std::size_t size() const;
  std::size_t added() const;
  bool approximate() const noexcept { return graph_ready_; }
  void wait_for_graph();  // for tests and benchmarks

 private:
  struct Added {
    mutable std::shared_mutex mutex;  // of all below
    std::vector<float> values;        // [n, embedding_size]
    std::vector<std::string> ids;     // [n]
    std::unordered_map<std::string, std::size_t> places;
  };

  std::span<const float> file_row(std::size_t row) const;
  std::span<const float> added_row(std::size_t row) const;

  const Settings settings_;
  std::optional<core::MappedFile> file_;
  std::span<const float> file_values_;
  std::vector<std::string> file_ids_;   // [rows of the file]
  std::vector<std::size_t> file_rows_;  // those that hold numbers
  std::unique_ptr<const HnswGraph> graph_;
  std::atomic<bool> graph_ready_{false};
  std::thread builder_;
  const std::shared_ptr<Added> added_;
};

}  // namespace bifocal::http
