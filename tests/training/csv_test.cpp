#include "csv.h"

#include <gmock/gmock.h>

namespace bifocal::training {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(Csv, ReadsWhatRfc4180Shows) {
  const auto rows = parse_csv(
      "\xEF\xBB\xBFimage,text\r\na.jpg,\"two\nlines, \"\"quoted\"\"\"\r\n\r\n,\nlast,x", ',');
  ASSERT_THAT(rows, SizeIs(4));
  EXPECT_THAT(rows[0].fields, ElementsAre("image", "text"));
  EXPECT_THAT(rows[1].fields, ElementsAre("a.jpg", "two\nlines, \"quoted\""));
  EXPECT_THAT(rows[2].fields, ElementsAre("", ""));
  EXPECT_THAT(rows[3].fields, ElementsAre("last", "x"));
  EXPECT_EQ(rows[1].line, 2u);
  EXPECT_EQ(rows[2].line, 5u);
  EXPECT_EQ(rows[3].line, 6u);
}

TEST(Csv, ABrokenRowIsNamedAndTheNextOnesAreRead) {
  const auto rows = parse_csv("a,\"b\"c\nd,e\nf,\"open", ',');
  ASSERT_THAT(rows, SizeIs(3));
  EXPECT_THAT(rows[0].problem, HasSubstr("after the closing quote"));
  EXPECT_THAT(rows[1].fields, ElementsAre("d", "e"));
  EXPECT_THAT(rows[2].problem, HasSubstr("never closed"));
}

TEST(Csv, TheSeparatorMayBeATab) {
  const auto rows = parse_csv("a\tb,c\n", '\t');
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_THAT(rows[0].fields, ElementsAre("a", "b,c"));
}

// What is quoted comes back as it was, whatever it is.
TEST(Csv, QuotingIsUndone) {
  for (const std::string value : {"", "\"", "\"\"", ",", "\r\n", " x ", "a\"b,c\nd"}) {
    std::string quoted = "\"";
    for (const char c : value) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    const auto rows = parse_csv(quoted + "\",end\n", ',');
    ASSERT_THAT(rows, SizeIs(1));
    EXPECT_THAT(rows[0].fields, ElementsAre(value, "end"));
  }
}

}  // namespace
}  // namespace bifocal::training
