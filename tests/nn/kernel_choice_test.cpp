#include "nn/kernel_choice.h"

#include <gtest/gtest.h>

#include "bifocal/error.h"
#include "forced_kernels.h"

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
}

TEST(KernelChoice, WhatHasNoProductsOfAPrecisionLeavesThemToLibTorch) {
  const testing::ForcedKernels forced("portable");
  EXPECT_NE(choose_kernels(Precision::kFp32), nullptr);
  EXPECT_EQ(choose_kernels(Precision::kBf16), nullptr);
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
  for (const Precision precision : {Precision::kFp32, Precision::kBf16}) {
    const cpu::Kernels* chosen = choose_kernels(precision, 96, 200);
    EXPECT_TRUE(chosen == nullptr || chosen->runs_here());
    EXPECT_EQ(choose_kernels(precision, 96, 200), chosen);
  }
}

}  // namespace
}  // namespace bifocal::nn
