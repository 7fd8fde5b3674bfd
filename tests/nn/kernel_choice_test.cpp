#include "nn/kernel_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "bifocal/error.h"
#include "core/files.h"
#include "forced_kernels.h"
#include "nn/packed_weights.h"
#include "temporary_directory.h"

namespace bifocal::nn {
namespace {

TEST(KernelChoice, TheEnvironmentDecides) {
  for (const std::string& name : testing::own_kernels(Precision::kFp32)) {
    const testing::ForcedKernels forced(name);
    const cpu::Kernels* chosen = choose_kernels(Precision::kFp32, 384, 1536);
    ASSERT_NE(chosen, nullptr);
    EXPECT_EQ(chosen->name, name);
    EXPECT_EQ(chosen->precision, Precision::kFp32);
  }
  const testing::ForcedKernels forced("torch");
  EXPECT_EQ(choose_kernels(Precision::kFp32), nullptr);
  EXPECT_EQ(choose_kernels(Precision::kBf16), nullptr);
  EXPECT_EQ(choose_kernels(Precision::kInt8), nullptr);
}

TEST(KernelChoice, WhatHasNoProductsOfAPrecisionLeavesThemToLibTorch) {
  for (const std::string& name : testing::own_kernels(Precision::kFp32)) {
    const testing::ForcedKernels forced(name);
    EXPECT_NE(choose_kernels(Precision::kFp32), nullptr);
    for (const Precision precision : {Precision::kBf16, Precision::kInt8}) {
      const auto others = testing::own_kernels(precision);
      const bool has_both = std::find(others.begin(), others.end(), name) != others.end();
      const cpu::Kernels* chosen = choose_kernels(precision);
      EXPECT_EQ(chosen != nullptr, has_both) << name << " in " << nn::name_of(precision);
      EXPECT_TRUE(chosen == nullptr || chosen->precision == precision);
    }
  }
}

TEST(KernelChoice, AnUnknownNameIsRefused) {
  const testing::ForcedKernels forced("sse9");
  try {
    choose_kernels(Precision::kFp32);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("portable"), std::string::npos) << error.what();
  }
}

TEST(KernelChoice, WhatIsMeasuredRunsHereAndStays) {
  const testing::ForcedKernels unforced("");
  for (const Precision precision : kPrecisions) {
    const cpu::Kernels* chosen = choose_kernels(precision, 96, 200);
    EXPECT_TRUE(chosen == nullptr || chosen->runs_here());
    EXPECT_EQ(choose_kernels(precision, 96, 200), chosen);
  }
}

// A process that has chosen nothing yet, with timings kept in a directory.
struct KeptTimings : ::testing::Test {
  testing::TemporaryDirectory directory;
  testing::ForcedKernels unforced{""};

  KeptTimings() { begin(directory.path()); }
  ~KeptTimings() override { begin(""); }
  static void begin(const std::filesystem::path& kept) {
    setenv("BIFOCAL_CACHE_DIR", "", 1);
    forget_choices();
    setenv("BIFOCAL_CACHE_DIR", kept.c_str(), 1);
  }
  static const cpu::Kernels* choose() { return choose_kernels(Precision::kFp32, 96, 200); }
  std::filesystem::path file() const {
    return std::filesystem::directory_iterator(directory.path())->path();
  }
  // What a process did whose timing found the portable kernels fastest.
  void keep_portable() {
    choose();
    nlohmann::json kept = nlohmann::json::parse(core::read_text_file(file()));
    kept["timings"]["fp32 96 to 200"] = {{"kernels", "portable"}, {"seconds", 1.0}};
    core::write_file_atomically(file(), kept.dump());
    begin(directory.path());
  }
};

TEST_F(KeptTimings, AreWhatTheNextProcessChoosesBy) {
  keep_portable();
  ASSERT_NE(choose(), nullptr);
  EXPECT_EQ(choose()->name, "portable");
  forget_choices();
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  choose();
  EXPECT_TRUE(std::filesystem::exists(file()));
}

TEST_F(KeptTimings, AreKeptForEachPrecisionByItsName) {
  for (const Precision precision : kPrecisions) choose_kernels(precision, 96, 200);
  const auto kept = nlohmann::json::parse(core::read_text_file(file()));
  for (const char* product : {"fp32 96 to 200", "bf16 96 to 200", "int8 96 to 200"})
    EXPECT_TRUE(kept["timings"].contains(product)) << product;
}

// Else the next start, which times nothing, would look for a model's weights in the wrong places.
TEST_F(KeptTimings, WhatIsTimedIsNotKeptAmongAModelsWeights) {
  PackedWeights weights(directory / "packed" / "fp32.safetensors", "a model");
  {
    const PackedWeights::Scope scope(weights);
    choose();
  }
  weights.save();
  EXPECT_FALSE(std::filesystem::exists(directory / "packed"));
}

TEST_F(KeptTimings, OfAnotherCpuOrDamagedAreNotTaken) {
  keep_portable();
  for (const char* contents : {"", "{", "[]", "{\"timed\": \"CPU\", \"timings\": {}}",
                               "{\"timings\": {\"fp32 96 to 200\": {\"kernels\": 3}}}"}) {
    core::write_file_atomically(file(), contents);
    begin(directory.path());
    choose();
    const auto kept = nlohmann::json::parse(core::read_text_file(file()));  // and is mended
    EXPECT_GT(kept["timings"]["fp32 96 to 200"]["seconds"], 0) << contents;
    EXPECT_NE(kept["timed"], "CPU") << contents;
  }
}

TEST_F(KeptTimings, ThatCannotBeKeptCostOnlyTime) {
  core::write_file_atomically(directory / "taken", "a file where a directory should be");
  begin(directory / "taken");
  const cpu::Kernels* chosen = choose();
  EXPECT_TRUE(chosen == nullptr || chosen->runs_here());
  EXPECT_EQ(choose(), chosen);
}

}  // namespace
}  // namespace bifocal::nn
