#include "nn/cpu/memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

#include "bifocal/error.h"

namespace bifocal::nn::cpu {
namespace {

TEST(Scratch, WhatIsTakenIsAlignedAndApart) {
  Scratch scratch(Scratch::rounded(100) + Scratch::rounded(12));
  auto* first = scratch.take<float>(25);
  auto* second = scratch.take<float>(3);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(first) % 64, 0u);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(second) % 64, 0u);
  EXPECT_GE(second, first + 25);
}

TEST(Scratch, AThreadsNextPassHasTheSameMemory) {
  void* before;
  {
    Scratch scratch(1000);
    before = scratch.take_bytes(1000);
  }
  Scratch scratch(500);
  EXPECT_EQ(scratch.take_bytes(500), before);
}

TEST(Scratch, APassWithinAPassHasItsOwn) {
  Scratch outer(256);
  auto* kept = static_cast<std::byte*>(outer.take_bytes(256));
  std::memset(kept, 7, 256);
  void* before = nullptr;
  for (int round = 0; round < 3; ++round) {
    Scratch inner(4096);
    void* taken = inner.take_bytes(4096);
    std::memset(taken, 9, 4096);
    EXPECT_TRUE(round == 0 || taken == before);
    before = taken;
  }
  for (int i = 0; i < 256; ++i) ASSERT_EQ(kept[i], std::byte{7});
}

TEST(Scratch, MoreThanWasAskedForIsRefused) {
  Scratch scratch(64);
  EXPECT_THROW(scratch.take_bytes(65), Error);
}

TEST(RowStride, HoldsARowAndIsAnOddNumberOfLines) {
  for (std::int64_t size = 1; size < 5000; size += 1 + size / 9) {
    for (const std::size_t element : {2u, 4u}) {
      const auto stride = row_stride(size, element);
      EXPECT_GE(stride, size);
      EXPECT_EQ(static_cast<std::size_t>(stride) * element % 128, 64u);
    }
  }
}

}  // namespace
}  // namespace bifocal::nn::cpu
