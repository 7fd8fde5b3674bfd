#include "training/event_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "bifocal/error.h"
#include "core/files.h"
#include "temporary_directory.h"

namespace bifocal::training {
namespace {

// The vectors of RFC 3720, B.4.
TEST(Crc32c, IsCastagnolis) {
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
}

TEST(EventFile, EachScalarIsThereAtOnce) {
  const testing::TemporaryDirectory directory;
  EventFile events(directory / "logs");
  const auto empty = std::filesystem::file_size(events.path());
  EXPECT_GT(empty, 0u);
  events.add_scalar("loss", 1.5, 3);
  EXPECT_GT(std::filesystem::file_size(events.path()), empty);
  const EventFile other(directory / "logs");
  EXPECT_NE(events.path(), other.path());
}

TEST(EventFile, AFolderThatCannotBeMadeIsAnError) {
  const testing::TemporaryDirectory directory;
  core::write_file_atomically(directory / "file", "x");
  EXPECT_THROW(EventFile(directory / "file"), Error);
}

}  // namespace
}  // namespace bifocal::training
