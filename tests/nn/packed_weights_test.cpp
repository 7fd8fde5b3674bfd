#include "nn/packed_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <thread>
#include <vector>

#include "core/files.h"
#include "nn/cpu/kernels.h"
#include "nn/weight_arena.h"
#include "temporary_directory.h"

namespace bifocal::nn {
namespace {

const cpu::Kernels& portable() { return *cpu::all_kernels(Precision::kFp32).back(); }

at::Tensor numbers(std::int64_t count, float first) {
  return at::arange(count, at::kFloat) + first;
}

// Two arenas, as a model with two plans makes them, within a Scope of a file.
struct Plans {
  Plans(PackedWeights& weights, float first, const cpu::Kernels& kernels = portable())
      : scope(std::in_place, weights) {
    matrix_arena.emplace(kernels, [&](WeightArena& arena) {
      matrix = arena.add(kDepth, kColumns, [&] {
        ++made;
        return LinearWeights(numbers(kDepth * kColumns, first).reshape({kColumns, kDepth}),
                             numbers(kColumns, first));
      });
    });
    table_arena.emplace(kernels, [&](WeightArena& arena) {
      table = arena.add(kRows, [&] {
        ++made;
        return numbers(kRows, first);
      });
    });
    scope.reset();
  }

  static constexpr std::int64_t kDepth = 5, kColumns = 7, kRows = 33;
  std::optional<PackedWeights::Scope> scope;
  std::optional<WeightArena> matrix_arena, table_arena;
  PackedLinear matrix;
  const float* table = nullptr;
  int made = 0;  // weights that had to be looked at
};

void expect_same(const Plans& a, const Plans& b) {
  EXPECT_EQ(std::memcmp(a.matrix.weights, b.matrix.weights,
                        portable().packed_bytes(Plans::kDepth, Plans::kColumns)),
            0);
  EXPECT_EQ(std::memcmp(a.matrix.bias, b.matrix.bias, sizeof(float) * Plans::kColumns), 0);
  EXPECT_EQ(std::memcmp(a.table, b.table, sizeof(float) * Plans::kRows), 0);
}

struct PackedWeightsTest : ::testing::Test {
  testing::TemporaryDirectory directory;
  std::filesystem::path path = directory / "packed" / "fp32.safetensors";

  void write(const std::string& key, float first) const {
    PackedWeights weights(path, key);
    const Plans plans(weights, first);
    weights.save();
  }
  void damage() const {  // the last byte, which is of the table
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x55');
  }
};

TEST_F(PackedWeightsTest, WhatOnePackedTheNextMaps) {
  PackedWeights first(path, "a model");
  EXPECT_FALSE(first.found());
  const Plans packed(first, 0);
  EXPECT_EQ(packed.made, 2);
  EXPECT_FALSE(first.had_all());
  first.save();

  PackedWeights second(path, "a model");
  ASSERT_TRUE(second.found());
  const Plans mapped(second, 1000);  // other weights, which nobody looks at
  EXPECT_TRUE(second.verify());
  EXPECT_EQ(mapped.made, 0);
  EXPECT_TRUE(second.had_all());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapped.matrix.weights) % 64, 0u);
  expect_same(packed, mapped);
}

TEST_F(PackedWeightsTest, OutsideOfAScopeNothingIsTakenOrKept) {
  write("a model", 0);
  PackedWeights weights(path, "a model");
  { const PackedWeights::Scope scope(weights); }
  const float* table = nullptr;
  const WeightArena arena(portable(), [&](WeightArena& to) { table = to.add(numbers(9, 0.5F)); });
  EXPECT_EQ(table[8], 8.5F);
}

TEST_F(PackedWeightsTest, AnotherKeyFindsNothingAndReplacesIt) {
  write("a model", 0);
  PackedWeights edited(path, "the model, edited");
  EXPECT_FALSE(edited.found());
  const Plans plans(edited, 1);
  EXPECT_EQ(plans.made, 2);
  edited.save();
  EXPECT_TRUE(PackedWeights(path, "the model, edited").found());
  EXPECT_FALSE(PackedWeights(path, "a model").found());
}

TEST_F(PackedWeightsTest, WithoutAKeyNothingIsKept) {
  write("", 0);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(PackedWeightsTest, OtherKernelsAndSizesArePackedAnew) {
  write("a model", 0);
  for (const Precision other : {Precision::kBf16, Precision::kInt8}) {
    PackedWeights weights(path, "a model");
    const Plans plans(weights, 1, *cpu::all_kernels(other).back());
    EXPECT_EQ(plans.made, 2);
    EXPECT_FALSE(weights.had_all());
  }

  PackedWeights longer(path, "a model");
  const PackedWeights::Scope scope(longer);
  const WeightArena arena(portable(), [](WeightArena& to) { to.add(numbers(9000, 0.5F)); });
  EXPECT_FALSE(longer.had_all());
}

TEST_F(PackedWeightsTest, DamageIsSeen) {
  write("a model", 0);
  damage();
  const PackedWeights damaged(path, "a model");
  EXPECT_TRUE(damaged.found());
  EXPECT_FALSE(damaged.verify());
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  EXPECT_FALSE(PackedWeights(path, "a model").found());
  core::write_file_atomically(path, "not a safetensors file");
  EXPECT_FALSE(PackedWeights(path, "a model").found());
  damaged.remove();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(PackedWeightsTest, WhatIsMappedOutlivesTheFile) {
  write("a model", 0);
  PackedWeights old(path, "a model");
  const Plans mapped(old, 0);
  write("another model", 1);
  old.remove();
  PackedWeights none(directory / "elsewhere" / "fp32.safetensors", "a model");
  expect_same(mapped, Plans(none, 0));
}

TEST_F(PackedWeightsTest, WhatCannotBeWrittenIsNoError) {
  core::write_file_atomically(directory / "packed", "a file where the directory should be");
  EXPECT_NO_THROW(write("a model", 0));
  EXPECT_FALSE(PackedWeights(path, "a model").found());
}

TEST_F(PackedWeightsTest, OfSeveralThatWriteAtOnceOneStaysWhole) {
  std::vector<std::thread> starts;
  for (int start = 0; start < 8; ++start)
    starts.emplace_back([this] {
      for (int i = 0; i < 10; ++i) write("a model", 0);
    });
  for (int i = 0; i < 20; ++i) {
    const PackedWeights seen(path, "a model");
    EXPECT_EQ(seen.found(), seen.verify());
  }
  for (std::thread& start : starts) start.join();
  PackedWeights weights(path, "a model");
  EXPECT_TRUE(weights.verify());
  EXPECT_EQ(Plans(weights, 0).made, 0);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(path.parent_path()))
    ++files;
  EXPECT_EQ(files, 1u);
}

}  // namespace
}  // namespace bifocal::nn
