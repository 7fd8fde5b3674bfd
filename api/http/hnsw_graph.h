#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace bifocal::http {

// An approximate index by inner product (Malkov and Yashunin 2016), as FAISS builds it.
// Immutable after building; searches are thread-safe and use the caller's thread alone.
class HnswGraph {
 public:
  // rows [n, columns]; copied. Takes minutes for a million rows; the calling thread alone works.
  HnswGraph(std::span<const float> rows, std::size_t columns);
  ~HnswGraph();
  HnswGraph(const HnswGraph&) = delete;
  HnswGraph& operator=(const HnswGraph&) = delete;

  // Row numbers that are likely to be the `k` best, in no order that counts.
  std::vector<std::size_t> candidates(std::span<const float> query, std::size_t k) const;

 private:
  struct Graph;
  std::unique_ptr<Graph> graph_;
};

}  // namespace bifocal::http
