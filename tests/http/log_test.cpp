#include "log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bifocal/error.h"
#include "temporary_directory.h"

namespace bifocal::http {
namespace {

using bifocal::testing::TemporaryDirectory;
using nlohmann::json;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::StartsWith;

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// Everything that a pipe or socket holds now.
std::string drain(int descriptor) {
  std::string all;
  std::array<char, 65536> bytes{};
  for (ssize_t got = 0; (got = ::read(descriptor, bytes.data(), bytes.size())) > 0;)
    all.append(bytes.data(), static_cast<std::size_t>(got));
  return all;
}

// Puts another descriptor in the place of standard error while it lives.
class StandardErrorIs {
 public:
  explicit StandardErrorIs(int descriptor) : before_(::dup(STDERR_FILENO)) {
    if (descriptor >= 0)
      ::dup2(descriptor, STDERR_FILENO);
    else
      ::close(STDERR_FILENO);
  }
  ~StandardErrorIs() {
    ::dup2(before_, STDERR_FILENO);
    ::close(before_);
  }
  StandardErrorIs(const StandardErrorIs&) = delete;
  StandardErrorIs& operator=(const StandardErrorIs&) = delete;

 private:
  int before_;
};

class LogTest : public ::testing::Test {
 protected:
  TemporaryDirectory directory_;
  const std::string file_ = (directory_ / "server.log").string();
};

TEST_F(LogTest, WritesOneObjectALine) {
  Log log(Log::Level::kInfo, file_);
  log.write(Log::Level::kInfo, "request",
            {{"status", 200},
             {"bytes", std::size_t{18446744073709551615U}},
             {"least", std::numeric_limits<std::int64_t>::min()},
             {"ms", 1.5},
             {"tls", true},
             {"client", std::string("alice")},
             {"literal", "text"}});
  const auto lines = lines_of(file_);
  ASSERT_EQ(lines.size(), 1U);
  const json line = json::parse(lines[0]);
  EXPECT_THAT(line["ts"].get<std::string>(),
              MatchesRegex("20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z"));
  EXPECT_EQ(line["level"], "info");
  EXPECT_EQ(line["event"], "request");
  EXPECT_EQ(line["status"], 200);
  EXPECT_EQ(line["bytes"], 18446744073709551615U);
  EXPECT_EQ(line["least"], std::numeric_limits<std::int64_t>::min());
  EXPECT_EQ(line["ms"], 1.5);
  EXPECT_EQ(line["tls"], true);
  EXPECT_EQ(line["client"], "alice");
  EXPECT_EQ(line["literal"], "text");
  EXPECT_EQ(log.lost(), 0U);
}

TEST_F(LogTest, LeavesOutEmptyTextsAndWhatIsNotANumber) {
  Log log(Log::Level::kInfo, file_);
  log.write(Log::Level::kInfo, "x",
            {{"none", ""},
             {"nan", std::numeric_limits<double>::quiet_NaN()},
             {"inf", -std::numeric_limits<double>::infinity()}});
  const json line = json::parse(lines_of(file_).at(0));
  EXPECT_FALSE(line.contains("none"));
  EXPECT_TRUE(line["nan"].is_null());
  EXPECT_TRUE(line["inf"].is_null());
}

TEST_F(LogTest, KeepsToItsLevel) {
  Log log(Log::Level::kWarning, file_);
  for (const auto level :
       {Log::Level::kDebug, Log::Level::kInfo, Log::Level::kWarning, Log::Level::kError})
    log.write(level, Log::name(level), {});
  const auto lines = lines_of(file_);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_THAT(lines[0], HasSubstr("\"warning\""));
  EXPECT_THAT(lines[1], HasSubstr("\"error\""));
}

TEST(LogLevel, IsKnownByItsName) {
  for (const auto level :
       {Log::Level::kDebug, Log::Level::kInfo, Log::Level::kWarning, Log::Level::kError})
    EXPECT_EQ(Log::level_named(Log::name(level)), level);
  EXPECT_EQ(Log::level_named("Info"), std::nullopt);
  EXPECT_EQ(Log::level_named(""), std::nullopt);
}

// Whatever bytes come: one line, strict JSON, nothing that a terminal obeys.
TEST_F(LogTest, AnyBytesMakeOneCleanLine) {
  std::mt19937 random(7);
  std::uniform_int_distribution<int> any_byte(0, 255);
  std::uniform_int_distribution<std::size_t> any_size(0, 300);
  constexpr std::size_t kLines = 500;
  {
    Log log(Log::Level::kInfo, file_);
    for (std::size_t i = 0; i < kLines; ++i) {
      std::string bytes(any_size(random), '\0');
      for (char& byte : bytes) byte = static_cast<char>(any_byte(random));
      log.write(Log::Level::kInfo, "e", {{"bytes", bytes}, {"last", 1}});
    }
  }
  const auto lines = lines_of(file_);
  ASSERT_EQ(lines.size(), kLines);
  for (const std::string& line : lines) {
    EXPECT_EQ(json::parse(line)["last"], 1);  // throws for what is not UTF-8
    for (std::size_t i = 0; i < line.size(); ++i) {
      const auto byte = static_cast<unsigned char>(line[i]);
      ASSERT_TRUE(byte >= 0x20 && byte != 0x7f) << line;
      ASSERT_TRUE(byte != 0xc2 || static_cast<unsigned char>(line[i + 1]) >= 0xa0) << line;
    }
  }
}

TEST_F(LogTest, EscapedTextReadsBackAsItWas) {
  const std::string text =
      "quote \" backslash \\ newline \n tab \t nul \x01 \u00e9 \u20ac \U0001f600";
  Log log(Log::Level::kInfo, file_);
  log.write(Log::Level::kInfo, "e",
            {{"text", text}, {"c1", "\xc2\x9b[31m"}, {"bad", "a\xff\xc0z"}});
  const json line = json::parse(lines_of(file_).at(0));
  EXPECT_EQ(line["text"], text);
  EXPECT_EQ(line["c1"], "\xc2\x9b[31m");
  EXPECT_EQ(line["bad"], "a\ufffd\ufffdz");
}

TEST_F(LogTest, CutsLongTextsBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "\u20ac";
  Log log(Log::Level::kInfo, file_);
  log.write(Log::Level::kInfo, "e", {{"text", text}});
  const auto cut = json::parse(lines_of(file_).at(0))["text"].get<std::string>();
  EXPECT_THAT(cut, EndsWith("\u20ac..."));
  EXPECT_LE(cut.size(), Log::kMaxText + 3);
  EXPECT_THAT(text, StartsWith(cut.substr(0, cut.size() - 3)));
}

TEST_F(LogTest, NoLineIsLongerThanAPipeTakesInOnePiece) {
  const std::string escapes(2000, '\x01');
  Log log(Log::Level::kInfo, file_);
  log.write(Log::Level::kInfo, escapes, {{"a", escapes}, {"b", escapes}, {"c", escapes}});
  log.write(Log::Level::kInfo, "e",
            {{"a", escapes}, {"b", escapes}, {"c", escapes}, {"d", escapes}});
  for (const std::string& line : lines_of(file_)) {
    EXPECT_LT(line.size() + 1, Log::kMaxLine);
    EXPECT_EQ(json::parse(line)["cut"], true);
  }
  EXPECT_EQ(lines_of(file_).size(), 2U);
}

TEST_F(LogTest, ThreadsDoNotMixTheirLines) {
  constexpr int kThreads = 4;
  constexpr int kLines = 300;
  {
    Log log(Log::Level::kInfo, file_);
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&log, t] {
        for (int i = 0; i < kLines; ++i)
          log.write(Log::Level::kInfo, "e", {{"thread", t}, {"text", std::string(200, 'x')}});
      });
  }
  std::array<int, kThreads> counts{};
  for (const std::string& line : lines_of(file_))
    ++counts.at(json::parse(line)["thread"].get<std::size_t>());
  EXPECT_THAT(counts, ::testing::Each(kLines));
}

TEST_F(LogTest, FileIsAppendedToAndNotForOthersToRead) {
  std::ofstream(directory_ / "old.log") << "before\n";
  Log old(Log::Level::kInfo, (directory_ / "old.log").string());
  old.write(Log::Level::kInfo, "e", {});
  EXPECT_EQ(lines_of(directory_ / "old.log").at(0), "before");
  EXPECT_EQ(lines_of(directory_ / "old.log").size(), 2U);

  const Log fresh(Log::Level::kInfo, file_);
  struct stat about {};
  ASSERT_EQ(::stat(file_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0007U, 0U);
}

TEST_F(LogTest, FileThatCannotBeOpenedIsToldAtTheStart) {
  try {
    const Log log(Log::Level::kInfo, (directory_ / "missing" / "server.log").string());
    FAIL() << "opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_THAT(error.message(), HasSubstr("missing/server.log"));
  }
}

TEST_F(LogTest, ReopenFollowsTheName) {
  Log log(Log::Level::kInfo, file_);
  log.write(Log::Level::kInfo, "first", {});
  std::filesystem::rename(file_, file_ + ".1");
  log.write(Log::Level::kInfo, "second", {});
  log.reopen();
  log.write(Log::Level::kInfo, "third", {});
  EXPECT_EQ(lines_of(file_ + ".1").size(), 2U);
  ASSERT_EQ(lines_of(file_).size(), 1U);
  EXPECT_EQ(json::parse(lines_of(file_)[0])["event"], "third");
}

TEST_F(LogTest, ReopenThatFailsKeepsTheOldFile) {
  Log log(Log::Level::kInfo, file_);
  std::filesystem::rename(file_, file_ + ".1");
  std::filesystem::create_directory(file_);
  log.reopen();
  log.write(Log::Level::kInfo, "still", {});
  const auto lines = lines_of(file_ + ".1");
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(json::parse(lines[0])["event"], "log_reopen_failed");
  EXPECT_EQ(json::parse(lines[1])["event"], "still");
  EXPECT_EQ(log.lost(), 0U);
}

TEST_F(LogTest, FullDiskLosesLinesAndSaysHowManyAfterwards) {
  std::filesystem::create_symlink("/dev/full", file_);
  Log log(Log::Level::kInfo, file_);
  for (int i = 0; i < 5; ++i) log.write(Log::Level::kInfo, "e", {});
  EXPECT_EQ(log.lost(), 5U);
  log.write(Log::Level::kDebug, "below the level", {});
  EXPECT_EQ(log.lost(), 5U);

  std::filesystem::remove(file_);
  log.reopen();
  log.write(Log::Level::kInfo, "again", {});
  log.write(Log::Level::kInfo, "and on", {});
  const auto lines = lines_of(file_);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(json::parse(lines[0])["event"], "log_lines_lost");
  EXPECT_EQ(json::parse(lines[0])["lines"], 5);
  EXPECT_EQ(json::parse(lines[1])["event"], "again");
  EXPECT_EQ(json::parse(lines[2])["event"], "and on");
  EXPECT_EQ(log.lost(), 5U);
}

// A limit on the file's size stands for a disk that fills in the middle of a line.
TEST_F(LogTest, TornLineIsEndedBeforeTheNext) {
  Log log(Log::Level::kInfo, file_);
  log.write(Log::Level::kInfo, "whole", {});
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit low = before;
  low.rlim_cur = std::filesystem::file_size(file_) + 20;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
  log.write(Log::Level::kInfo, "torn", {});
  log.write(Log::Level::kInfo, "refused", {});  // would raise SIGXFSZ
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(log.lost(), 2U);
  log.write(Log::Level::kInfo, "again", {});

  const auto lines = lines_of(file_);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_FALSE(json::accept(lines[1]));
  EXPECT_EQ(json::parse(lines[2])["lines"], 2);
  EXPECT_EQ(json::parse(lines[3])["event"], "again");
}

TEST_F(LogTest, StuckReaderLosesLinesAndNeverHoldsTheWriter) {
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  const int reader = ::open(file_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  Log log(Log::Level::kInfo, file_);
  constexpr std::uint64_t kLines = 2000;  // of 1 KB, into a pipe of 64 KB
  for (std::uint64_t i = 0; i < kLines; ++i)
    log.write(Log::Level::kInfo, "e", {{"text", std::string(900, 'x')}});
  EXPECT_GT(log.lost(), 0U);
  const std::uint64_t lost = log.lost();

  std::istringstream held(drain(reader));
  std::uint64_t whole = 0;
  for (std::string line; std::getline(held, line); ++whole) EXPECT_TRUE(json::accept(line));
  EXPECT_EQ(whole, kLines - lost);

  log.write(Log::Level::kInfo, "again", {});
  EXPECT_THAT(drain(reader), HasSubstr("\"lines\":" + std::to_string(lost) + "}"));
  ::close(reader);
}

TEST_F(LogTest, ReaderThatWentAwayEndsNothing) {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGPIPE, &standard, &before), 0);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  {
    const StandardErrorIs pipe(ends[1]);
    Log log(Log::Level::kInfo, {});
    log.write(Log::Level::kInfo, "heard", {});
    ::close(ends[0]);
    log.write(Log::Level::kInfo, "unheard", {});
    EXPECT_EQ(log.lost(), 1U);
  }
  ::close(ends[1]);
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_EQ(::sigismember(&pending, SIGPIPE), 0);
  ::sigaction(SIGPIPE, &before, nullptr);
}

TEST_F(LogTest, StandardErrorThatIsASocketNeitherHoldsNorKills) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  {
    const StandardErrorIs socket(ends[1]);
    Log log(Log::Level::kInfo, {});
    for (int i = 0; i < 3000; ++i)
      log.write(Log::Level::kInfo, "e", {{"text", std::string(900, 'x')}});
    EXPECT_GT(log.lost(), 0U);
    EXPECT_LT(log.lost(), 3000U);
    EXPECT_EQ(::fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0) << "changed for all who share it";
    ::close(ends[0]);
    const auto lost = log.lost();
    log.write(Log::Level::kInfo, "e", {});
    EXPECT_EQ(log.lost(), lost + 1);
  }
  ::close(ends[1]);
}

TEST_F(LogTest, ClosedStandardErrorLosesLinesAndNeverWritesElsewhere) {
  const StandardErrorIs closed(-1);
  Log log(Log::Level::kInfo, {});
  // The lowest free descriptor is what standard error was: it could be a client's connection.
  const int other = ::open(file_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  EXPECT_EQ(other, STDERR_FILENO);
  log.write(Log::Level::kInfo, "e", {});
  log.reopen();
  log.write(Log::Level::kInfo, "e", {});
  EXPECT_EQ(log.lost(), 2U);
  EXPECT_EQ(std::filesystem::file_size(file_), 0U);
}

}  // namespace
}  // namespace bifocal::http
