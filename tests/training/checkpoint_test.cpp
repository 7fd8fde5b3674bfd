#include "training/checkpoint.h"

#include <ATen/ops/equal.h>
#include <ATen/ops/rand.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "core/files.h"
#include "temporary_directory.h"

namespace bifocal::training {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryDirectory;

Checkpoint checkpoint_of(std::int64_t step) {
  Checkpoint checkpoint;
  checkpoint.step = step;
  checkpoint.weights = {{"w", at::rand({3, 2})}};
  checkpoint.optimizer = {{"first.w", at::rand({3, 2})}};
  checkpoint.progress = {{"best_step", 1}};
  checkpoint.settings = {{"seed", 3}};
  return checkpoint;
}

TEST(Checkpoint, ComesBackToTheBit) {
  const TemporaryDirectory directory;
  const Checkpoint saved = checkpoint_of(12);
  save_checkpoint(directory.path(), saved);
  const auto loaded = load_newest_checkpoint(directory.path());
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->step, 12);
  EXPECT_TRUE(at::equal(loaded->weights.at("w"), saved.weights.at("w")));
  EXPECT_TRUE(at::equal(loaded->optimizer.at("first.w"), saved.optimizer.at("first.w")));
  EXPECT_TRUE(loaded->average.empty());
  EXPECT_EQ(loaded->progress, saved.progress);
  EXPECT_EQ(loaded->settings, saved.settings);
}

TEST(Checkpoint, TheNewestWholeOneIsReadAndTwoAreKept) {
  const TemporaryDirectory directory;
  EXPECT_FALSE(load_newest_checkpoint(directory.path()));
  EXPECT_FALSE(load_newest_checkpoint(directory / "absent"));
  for (const std::int64_t step : {9, 100, 200})
    save_checkpoint(directory.path(), checkpoint_of(step));
  EXPECT_FALSE(fs::exists(directory / "step-00000009"));
  EXPECT_TRUE(fs::exists(directory / "step-00000100"));
  // What a killed process may leave behind.
  fs::create_directories(directory / "step-00000300.partial");
  core::write_file_atomically(directory / "step-00000300.partial/checkpoint.json", "{}");
  fs::create_directories(directory / "step-00000400");
  EXPECT_EQ(load_newest_checkpoint(directory.path())->step, 200);
}

}  // namespace
}  // namespace bifocal::training
