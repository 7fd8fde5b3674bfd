#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::testing {

// `count` elements of T that end at a page which faults, or begin behind one: a kernel that reads
// or writes past what it was given dies. The elements stand on no boundary but their own.
template <typename T>
class Guarded {
 public:
  enum class Side { kEnd, kBegin };

  explicit Guarded(std::size_t count, Side side = Side::kEnd) : count_(count) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = (count * sizeof(T) + page - 1) / page * page;
    size_ = bytes + 2 * page;
    base_ = static_cast<std::byte*>(
        mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED ||
        (bytes > 0 && mprotect(base_ + page, bytes, PROT_READ | PROT_WRITE) != 0))
      throw Error(ErrorCode::kInternal, "no memory for a guarded buffer");
    std::byte* first =
        side == Side::kBegin ? base_ + page : base_ + page + bytes - count * sizeof(T);
    data_ = reinterpret_cast<T*>(first);
  }
  Guarded(std::span<const T> values, Side side = Side::kEnd) : Guarded(values.size(), side) {
    std::copy(values.begin(), values.end(), data_);
  }
  ~Guarded() { munmap(base_, size_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  T* data() noexcept { return data_; }
  std::span<T> span() noexcept { return {data_, count_}; }

 private:
  std::size_t count_;
  std::size_t size_ = 0;
  std::byte* base_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace bifocal::testing
