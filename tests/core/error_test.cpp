#include "bifocal/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace bifocal {
namespace {

TEST(ErrorTraits, EveryCodeHasADistinctNameAndSaneStatuses) {
  std::set<std::string_view> names;
  for (const ErrorTraits& known : all_error_traits()) {
    EXPECT_EQ(&traits(known.code), &known);
    EXPECT_TRUE(names.insert(known.name).second) << known.name;
    EXPECT_GE(known.http_status, 400);
    EXPECT_LT(known.http_status, 600);
    EXPECT_GT(known.exit_code, 0);
    EXPECT_LT(known.exit_code, 126) << "the shell keeps 126 and above for itself";
  }
}

TEST(Error, WithinPutsTheContextFirstAndKeepsTheRest) {
  const Error error(ErrorCode::kInvalidImage, "is truncated", "libpng: read error");
  const Error outer = error.within("item 7");
  EXPECT_EQ(outer.code(), ErrorCode::kInvalidImage);
  EXPECT_EQ(outer.message(), "item 7: is truncated");
  EXPECT_EQ(outer.detail(), "libpng: read error");
}

}  // namespace
}  // namespace bifocal
