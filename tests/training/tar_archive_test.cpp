#include "training/tar_archive.h"

#include <gmock/gmock.h>

#include <fstream>
#include <thread>

#include "bifocal/error.h"
#include "tar_writer.h"
#include "temporary_directory.h"

namespace bifocal::training {
namespace {

using ::bifocal::testing::pax_record;
using ::bifocal::testing::tar_end;
using ::bifocal::testing::tar_member;
using ::bifocal::testing::TemporaryDirectory;

class TarArchiveTest : public ::testing::Test {
 protected:
  std::shared_ptr<const TarArchive> open(const std::string& bytes) {
    std::ofstream(directory_ / "a.tar", std::ios::binary) << bytes;
    return TarArchive::open(directory_ / "a.tar");
  }
  static std::string contents(const TarArchive& archive, std::string_view name) {
    const TarArchive::Member* member = archive.find(name);
    if (member == nullptr) return "(none)";
    const auto bytes = archive.read(*member, 1 << 20);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  TemporaryDirectory directory_;
};

TEST_F(TarArchiveTest, ReadsEachWayToWriteAName) {
  const std::string long_name = std::string(150, 'n') + ".jpg";
  const auto archive =
      open(tar_member("./plain.txt", "one") + tar_member("folder", "", '5') +
           tar_member("b.txt", "two", '0', {}, "some/prefix") +
           tar_member("././@LongLink", long_name + '\0', 'L') + tar_member("cut", "three") +
           tar_member("PaxHeaders/x", pax_record("mtime", "1.5") + pax_record("path", "paß/4.png"),
                      'x') +
           tar_member("4.png", "four") + tar_member("link.txt", "", '1', "plain.txt") +
           tar_member("symbolic", "", '2', "plain.txt") + tar_member("empty", "") + tar_end());
  EXPECT_EQ(archive->damage(), "");
  EXPECT_EQ(contents(*archive, "plain.txt"), "one");
  EXPECT_EQ(contents(*archive, "./plain.txt"), "one");
  EXPECT_EQ(contents(*archive, "some/prefix/b.txt"), "two");
  EXPECT_EQ(contents(*archive, long_name), "three");
  EXPECT_EQ(contents(*archive, "paß/4.png"), "four");
  EXPECT_EQ(contents(*archive, "link.txt"), "one");
  EXPECT_EQ(contents(*archive, "empty"), "");
  EXPECT_EQ(archive->find("symbolic"), nullptr);
  EXPECT_EQ(archive->find("folder"), nullptr);
  EXPECT_EQ(archive->members().size(), 6u);
}

TEST_F(TarArchiveTest, TheLaterOfTwoMembersOfOneNameCounts) {
  const auto archive = open(tar_member("a", "old") + tar_member("b", "x") + tar_member("a", "new"));
  EXPECT_EQ(contents(*archive, "a"), "new");
  EXPECT_EQ(archive->members().size(), 2u);
}

TEST_F(TarArchiveTest, DamageEndsTheIndexAndIsNamed) {
  const std::string good = tar_member("a", "first");
  std::string broken = tar_member("b", "second");
  broken[3] = 'x';
  EXPECT_THAT(open(good + broken + tar_member("c", "third"))->damage(),
              ::testing::HasSubstr("damaged"));
  const auto cut = open(good + tar_member("b", std::string(2000, 'b')).substr(0, 1024));
  EXPECT_THAT(cut->damage(), ::testing::HasSubstr("cut off"));
  EXPECT_EQ(contents(*cut, "a"), "first");
  EXPECT_EQ(cut->find("b"), nullptr);
}

// Whatever stands in a header, the index stays within the file.
TEST_F(TarArchiveTest, EveryFlippedByteIsSurvived) {
  const std::string good = tar_member("p", pax_record("size", "5") + pax_record("path", "q"), 'x') +
                           tar_member("a", "first") + tar_member("b", "second") + tar_end();
  for (std::size_t at = 0; at < 2048; ++at) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x85);
    try {
      const auto archive = open(bytes);
      for (const TarArchive::Member& member : archive->members()) archive->read(member, 1 << 20);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported) << at << ": " << error.what();
    }
  }
}

TEST_F(TarArchiveTest, WhatIsNoTarIsRefused) {
  for (const std::string& bytes : {std::string(), std::string("\x1f\x8b"), std::string(600, 'x')}) {
    try {
      open(bytes);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
    }
  }
  EXPECT_THROW(TarArchive::open(directory_ / "absent.tar"), Error);
}

TEST_F(TarArchiveTest, ThreadsReadSideBySide) {
  std::string bytes;
  for (int i = 0; i < 50; ++i)
    bytes += tar_member(std::to_string(i), std::string(static_cast<std::size_t>(i * 37), 'a'));
  const auto archive = open(bytes + tar_end());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (std::size_t i = 0; i < 50; ++i)
        EXPECT_EQ(contents(*archive, std::to_string(i)), std::string(i * 37, 'a'));
    });
  for (std::thread& thread : threads) thread.join();
}

TEST_F(TarArchiveTest, MembersBeyondTheLimitAreRefused) {
  const auto archive = open(tar_member("a", "12345") + tar_end());
  EXPECT_EQ(archive->read(*archive->find("a"), 5).size(), 5u);
  EXPECT_THROW(archive->read(*archive->find("a"), 4), Error);
}

}  // namespace
}  // namespace bifocal::training
