// Where training computes. That it gives the same there is tested with each preset.
#include "training/device.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "bifocal/error.h"
#include "second_device.h"

namespace bifocal::training {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void expect_refused(const std::string& name, ErrorCode code, const std::string& because) {
  try {
    device_named(name);
    FAIL() << name;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << name;
    EXPECT_THAT(error.message(), AllOf(HasSubstr("device"), HasSubstr(because))) << name;
  }
}

TEST(Device, TheCpuIsAlwaysThere) { EXPECT_EQ(device_named("cpu"), at::Device(at::kCPU)); }

TEST(Device, WhatIsNotThereIsSaid) {
  expect_refused("cuda:999", ErrorCode::kUnsupported, "no cuda:999");
  expect_refused("meta", ErrorCode::kUnsupported, "no meta");
  expect_refused("gpu", ErrorCode::kInvalidArgument, "\"gpu\"");
  expect_refused("", ErrorCode::kInvalidArgument, "\"\"");
  expect_refused("cuda:-1", ErrorCode::kInvalidArgument, "\"cuda:-1\"");
}

TEST(Device, IsTheOneOfTheLocalRank) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto look = [] {
    testing::add_second_device();
    ::unsetenv("LOCAL_RANK");
    EXPECT_EQ(device_named(testing::kSecondDevice), at::Device(at::kMTIA, 0));
    ::setenv("LOCAL_RANK", "0", 1);
    EXPECT_EQ(device_named(testing::kSecondDevice), at::Device(at::kMTIA, 0));
    ::setenv("LOCAL_RANK", "1", 1);
    expect_refused(testing::kSecondDevice, ErrorCode::kUnsupported, "of LOCAL_RANK");
    expect_refused(testing::kSecondDevice, ErrorCode::kUnsupported, "mtia:0");
    testing::exit_with_result();
  };
  EXPECT_EXIT(look(), ::testing::ExitedWithCode(0), "");
}

// Else the tests of the presets would prove nothing.
TEST(SecondDevice, TakesNoTensorsOfTheCpu) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto look = [] {
    testing::add_second_device();
    const at::Tensor here = at::ones({3, 4});
    const at::Tensor there = here.to(at::kMTIA);
    EXPECT_ANY_THROW(there + here);
    EXPECT_ANY_THROW(there.index_select(0, at::arange(2)));
    EXPECT_EQ((there + there).sum().item<float>(), 24);
    EXPECT_EQ((there + here.sum()).max().item<float>(), 13);  // a number may come from elsewhere
    EXPECT_EQ((there + there).device(), at::Device(at::kMTIA, 0));
    testing::exit_with_result();
  };
  EXPECT_EXIT(look(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace bifocal::training
