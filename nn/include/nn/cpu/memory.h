#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace bifocal::nn::cpu {

struct FreeAligned {
  void operator()(const std::byte* memory) const noexcept;
};
// Uninitialised bytes on a boundary of 64. Throws std::bad_alloc.
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;
AlignedBytes allocate_aligned(std::size_t bytes);

// Elements from row to row of a scratch matrix with rows of `size`: an odd number of cache lines,
// so that the rows of a tile do not all fall into one set of the cache.
std::ptrdiff_t row_stride(std::int64_t size, std::size_t element_bytes) noexcept;

// Scratch memory of one step, lent by the calling thread and given back at the end, the last lent
// first. A thread keeps a piece for each depth of nesting and allocates only where one needs more
// than any before it at its depth. What is taken together must fit what was asked for.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // `count` uninitialised elements on a boundary of 64.
  template <typename T>
  T* take(std::size_t count) {
    return static_cast<T*>(take_bytes(count * sizeof(T)));
  }
  void* take_bytes(std::size_t bytes);
  // What taking `bytes` uses up.
  static constexpr std::size_t rounded(std::size_t bytes) noexcept {
    return (bytes + 63) / 64 * 64;
  }

 private:
  std::byte* memory_ = nullptr;
  std::size_t size_ = 0;
  std::size_t taken_ = 0;
};

}  // namespace bifocal::nn::cpu
