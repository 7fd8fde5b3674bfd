#include "nn/cpu/memory.h"

#include <cstdlib>
#include <new>
#include <vector>

#include "bifocal/error.h"

namespace bifocal::nn::cpu {
namespace {

constexpr std::size_t kLine = 64;

struct Piece {
  AlignedBytes memory;
  std::size_t size = 0;
};
// By depth of nesting.
thread_local std::vector<Piece> pieces;
thread_local std::size_t depth = 0;

}  // namespace

void FreeAligned::operator()(const std::byte* memory) const noexcept {
  std::free(const_cast<std::byte*>(memory));
}

AlignedBytes allocate_aligned(std::size_t bytes) {
  auto* memory =
      static_cast<std::byte*>(std::aligned_alloc(kLine, (bytes + kLine - 1) / kLine * kLine));
  if (memory == nullptr && bytes > 0) throw std::bad_alloc();
  return AlignedBytes(memory);
}

std::ptrdiff_t row_stride(std::int64_t size, std::size_t element_bytes) noexcept {
  const auto line = static_cast<std::int64_t>(kLine / element_bytes);
  return ((size + line - 1) / line | 1) * line;
}

Scratch::Scratch(std::size_t bytes) {
  bytes = rounded(bytes);
  if (pieces.size() == depth) pieces.emplace_back();
  Piece& piece = pieces[depth];
  if (piece.size < bytes) {
    piece.size = 0;
    piece.memory.reset();
    piece.memory = allocate_aligned(bytes);
    piece.size = bytes;
  }
  memory_ = piece.memory.get();
  size_ = bytes;
  ++depth;
}

Scratch::~Scratch() { --depth; }

void* Scratch::take_bytes(std::size_t bytes) {
  const std::size_t from = taken_;
  taken_ += rounded(bytes);
  if (taken_ > size_)
    throw Error(ErrorCode::kInternal, "A forward pass outgrew its scratch memory");
  return memory_ + from;
}

}  // namespace bifocal::nn::cpu
