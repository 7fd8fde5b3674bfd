#include "search_index.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "bifocal/error.h"
#include "npy_reader.h"

namespace bifocal::http {
namespace {

namespace fs = std::filesystem;

// In the order of the numbers, so that equal rows give equal scores; eight sums keep the units
// busy.
float dot(std::span<const float> a, std::span<const float> b) noexcept {
  float sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= a.size(); i += 8)
    for (std::size_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  float sum = 0;
  for (; i < a.size(); ++i) sum += a[i] * b[i];
  for (const float part : sums) sum += part;
  return sum;
}

bool all_finite(std::span<const float> row) noexcept {
  return std::all_of(row.begin(), row.end(), [](float value) { return std::isfinite(value); });
}

std::vector<std::string> read_ids(const fs::path& path) {
  std::ifstream file(path);
  if (!file)
    throw Error(ErrorCode::kNotFound,
                path.string() + " is not there; it is written beside the vectors, with their ids");
  std::vector<std::string> ids;
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!record.is_object() || !record.contains("id"))
      throw Error(
          ErrorCode::kInvalidArgument,
          path.string() + ": line " + std::to_string(ids.size() + 1) + " is no record with an id");
    const auto& id = record["id"];
    ids.push_back(id.is_string() ? id.get<std::string>() : id.dump());
  }
  return ids;
}

// The best so far, the worst of them on top.
class Best {
 public:
  explicit Best(std::size_t most) : most_(most) {}

  void offer(float score, std::size_t place) {
    const Entry entry{score, place};
    if (entries_.size() == most_ && !better(entry, entries_.front())) return;
    if (entries_.size() == most_) {
      std::pop_heap(entries_.begin(), entries_.end(), better);
      entries_.pop_back();
    }
    entries_.push_back(entry);
    std::push_heap(entries_.begin(), entries_.end(), better);
  }

  struct Entry {
    float score = 0;
    std::size_t place = 0;
  };
  std::vector<Entry> take() {
    std::sort_heap(entries_.begin(), entries_.end(), better);
    return std::move(entries_);
  }

 private:
  static bool better(const Entry& a, const Entry& b) {
    return a.score != b.score ? a.score > b.score : a.place < b.place;
  }
  std::size_t most_;
  std::vector<Entry> entries_;
};

}  // namespace

SearchIndex::SearchIndex(const Settings& settings)
    : settings_(settings), added_(std::make_shared<Added>()) {}

SearchIndex::SearchIndex(const Settings& settings, const SearchIndex& shares_added)
    : settings_(settings), added_(shares_added.added_) {
  assert(settings.embedding_size == shares_added.settings_.embedding_size);
}

SearchIndex::~SearchIndex() { wait_for_graph(); }

void SearchIndex::wait_for_graph() {
  if (builder_.joinable()) builder_.join();
}

void SearchIndex::load(const fs::path& vectors) {
  file_ = core::MappedFile::open(vectors);
  NpyMatrix matrix;
  try {
    matrix = read_npy(file_->bytes());
  } catch (const Error& error) {
    throw error.within(vectors.string());
  }
  if (matrix.columns != settings_.embedding_size)
    throw Error(ErrorCode::kInvalidArgument,
                vectors.string() + " has vectors of " + std::to_string(matrix.columns) +
                    " numbers, and this model's have " + std::to_string(settings_.embedding_size) +
                    "; make them again with this model");
  file_values_ = matrix.values;
  file_ids_ = read_ids(vectors.string() + ".ids.jsonl");
  if (file_ids_.size() != matrix.rows)
    throw Error(ErrorCode::kInvalidArgument, vectors.string() + " has " +
                                                 std::to_string(matrix.rows) + " rows and " +
                                                 std::to_string(file_ids_.size()) + " ids");
  for (std::size_t row = 0; row < matrix.rows; ++row)
    if (all_finite(file_row(row))) file_rows_.push_back(row);
  if (file_rows_.size() < settings_.hnsw_threshold || file_rows_.empty()) return;
  builder_ = std::thread([this] {
    std::vector<float> rows;
    rows.reserve(file_rows_.size() * settings_.embedding_size);
    for (const std::size_t row : file_rows_)
      rows.insert(rows.end(), file_row(row).begin(), file_row(row).end());
    graph_ = std::make_unique<const HnswGraph>(rows, settings_.embedding_size);
    graph_ready_ = true;
  });
}

std::span<const float> SearchIndex::file_row(std::size_t row) const {
  return file_values_.subspan(row * settings_.embedding_size, settings_.embedding_size);
}

std::span<const float> SearchIndex::added_row(std::size_t row) const {
  return std::span(added_->values)
      .subspan(row * settings_.embedding_size, settings_.embedding_size);
}

void SearchIndex::add(const std::string& id, std::span<const float> vector) {
  if (vector.size() != settings_.embedding_size || !all_finite(vector))
    throw Error(ErrorCode::kInvalidArgument, "the vector is not one of this model's");
  const std::unique_lock lock(added_->mutex);
  if (const auto place = added_->places.find(id); place != added_->places.end()) {
    std::copy(vector.begin(), vector.end(),
              added_->values.begin() +
                  static_cast<std::ptrdiff_t>(place->second * settings_.embedding_size));
    return;
  }
  if (added_->ids.size() >= settings_.capacity)
    throw Error(ErrorCode::kTooLarge, "the index is full: it takes " +
                                          std::to_string(settings_.capacity) +
                                          " items (index-capacity); remove some");
  added_->places.emplace(id, added_->ids.size());
  added_->ids.push_back(id);
  added_->values.insert(added_->values.end(), vector.begin(), vector.end());
}

bool SearchIndex::remove(std::string_view id) {
  const std::unique_lock lock(added_->mutex);
  const auto found = added_->places.find(std::string(id));
  if (found == added_->places.end()) return false;
  const std::size_t place = found->second, size = settings_.embedding_size;
  added_->places.erase(found);
  // The order of the others is their age: they move up.
  added_->ids.erase(added_->ids.begin() + static_cast<std::ptrdiff_t>(place));
  const auto begin = added_->values.begin() + static_cast<std::ptrdiff_t>(place * size);
  added_->values.erase(begin, begin + static_cast<std::ptrdiff_t>(size));
  for (auto& [name, at] : added_->places)
    if (at > place) --at;
  return true;
}

std::vector<Neighbour> SearchIndex::search(std::span<const float> query, std::size_t k) const {
  if (query.size() != settings_.embedding_size)
    throw Error(ErrorCode::kInvalidArgument, "the query's vector is not one of this model's");
  if (k == 0) return {};
  const std::shared_lock lock(added_->mutex);
  Best best(k);
  const auto offer_file_row = [&](std::size_t row) {
    if (added_->places.empty() || !added_->places.contains(file_ids_[row]))
      best.offer(dot(query, file_row(row)), row);
  };
  if (graph_ready_) {
    // Some of the candidates may be hidden by what was added.
    for (const std::size_t found :
         graph_->candidates(query, k + std::min(k, added_->places.size())))
      offer_file_row(file_rows_[found]);
  } else {
    for (const std::size_t row : file_rows_) offer_file_row(row);
  }
  for (std::size_t row = 0; row < added_->ids.size(); ++row)
    best.offer(dot(query, added_row(row)), file_ids_.size() + row);

  std::vector<Neighbour> neighbours;
  for (const Best::Entry& entry : best.take())
    neighbours.push_back({entry.place < file_ids_.size()
                              ? file_ids_[entry.place]
                              : added_->ids[entry.place - file_ids_.size()],
                          entry.score});
  return neighbours;
}

std::size_t SearchIndex::size() const {
  const std::shared_lock lock(added_->mutex);
  const auto hidden = static_cast<std::size_t>(
      std::count_if(file_rows_.begin(), file_rows_.end(),
                    [this](std::size_t row) { return added_->places.contains(file_ids_[row]); }));
  return file_rows_.size() - (added_->places.empty() ? 0 : hidden) + added_->ids.size();
}

std::size_t SearchIndex::added() const {
  const std::shared_lock lock(added_->mutex);
  return added_->ids.size();
}

}  // namespace bifocal::http
