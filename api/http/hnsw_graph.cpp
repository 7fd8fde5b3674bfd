#include "hnsw_graph.h"

#pragma GCC diagnostic push  // not our warnings
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <faiss/IndexHNSW.h>
#pragma GCC diagnostic pop
#include <omp.h>

#include <algorithm>

namespace bifocal::http {
namespace {

constexpr int kLinks = 32;
constexpr int kBuildWidth = 80;
constexpr std::size_t kSearchWidth = 128;

}  // namespace

struct HnswGraph::Graph {
  explicit Graph(std::size_t columns)
      : index(static_cast<int>(columns), kLinks, faiss::METRIC_INNER_PRODUCT) {}
  faiss::IndexHNSWFlat index;
};

HnswGraph::HnswGraph(std::span<const float> rows, std::size_t columns)
    : graph_(std::make_unique<Graph>(columns)) {
  ::omp_set_num_threads(1);  // of this thread: the cores are the model's
  graph_->index.hnsw.efConstruction = kBuildWidth;
  graph_->index.add(static_cast<faiss::Index::idx_t>(rows.size() / columns), rows.data());
}

HnswGraph::~HnswGraph() = default;

std::vector<std::size_t> HnswGraph::candidates(std::span<const float> query, std::size_t k) const {
  ::omp_set_num_threads(1);
  const std::size_t wanted =
      std::min(std::max(k, kSearchWidth), static_cast<std::size_t>(graph_->index.ntotal));
  std::vector<float> scores(wanted);
  std::vector<faiss::Index::idx_t> found(wanted, -1);
  // FAISS looks no wider than it is asked for results: those beyond k are for the exact scores.
  graph_->index.search(1, query.data(), static_cast<faiss::Index::idx_t>(wanted), scores.data(),
                       found.data());
  std::vector<std::size_t> rows;
  for (const auto row : found)
    if (row >= 0) rows.push_back(static_cast<std::size_t>(row));
  return rows;
}

}  // namespace bifocal::http
