#pragma once

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ranks.h"
#include "training/run.h"

namespace bifocal::testing {

// Gives LibTorch a device beside the CPU, under a name that no build of ours has: its memory is the
// host's, its operators are the CPU's, and whatever is given tensors of both devices fails, as it
// would with CUDA, where a number alone (a tensor without dimensions) may come from elsewhere. To
// be called before the process's first backward pass, which starts a thread for each device.
void add_second_device();
constexpr const char* kSecondDevice = "mtia";

// Ends a death test's process: with 0 unless an expectation failed, which it says on stderr; what
// GoogleTest would say is lost with the process.
[[noreturn]] inline void exit_with_result() {
  const ::testing::TestResult& result =
      *::testing::UnitTest::GetInstance()->current_test_info()->result();
  for (int i = 0; i < result.total_part_count(); ++i)
    if (result.GetTestPartResult(i).failed())
      std::fprintf(stderr, "%s\n", result.GetTestPartResult(i).message());
  std::exit(result.Failed() ? 1 : 0);
}

// Runs config(out) on the CPU and on the second device, there by one process or, with `ranks`, by
// two. The weights after each phase, a directory of OUT.training, must be the same but for
// rounding.
inline void expect_same_on_second_device(
    const std::filesystem::path& directory,
    const std::function<training::TrainConfig(const std::string& out)>& config,
    const std::vector<std::string>& phases, bool ranks = false, const std::string& undone = "") {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // the program begins anew
  const auto compare = [&] {
    add_second_device();
    at::set_num_threads(1);
    const auto there = [&](const std::string& out, training::ProcessGroup* group) {
      training::TrainConfig on_device = config(out);
      on_device.device = kSecondDevice;
      training::RunOptions options;
      options.group = group;
      training::run_training(on_device, options);
    };
    if (ranks)
      EXPECT_THAT(in_ranks(2, [&](training::ProcessGroup& group) { there("there", &group); }),
                  ::testing::Each(0));
    else
      there("there", nullptr);
    training::run_training(config("here"), {});
    const auto weights = [&](const std::string& out, const std::string& phase) {
      return training::load_newest_checkpoint(directory / (out + ".training") / phase)->weights;
    };
    for (const std::string& phase : phases)
      expect_same_run(weights("here", phase), weights("there", phase), phase, undone);
    exit_with_result();
  };
  EXPECT_EXIT(compare(), ::testing::ExitedWithCode(0), "");
}

}  // namespace bifocal::testing
