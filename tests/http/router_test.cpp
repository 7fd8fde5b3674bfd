#include "router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

Router router_of(std::initializer_list<std::pair<const char*, const char*>> routes) {
  Router router;
  for (const auto& [method, pattern] : routes) {
    Route route;
    route.method = method;
    route.pattern = pattern;
    router.add({route});
  }
  return router;
}

TEST(Router, FindsByMethodAndPathAndFillsTheNames) {
  const Router router = router_of({{"GET", "/v2"},
                                   {"GET", "/v2/models/{model}"},
                                   {"POST", "/v2/models/{model}/versions/{version}/infer"}});
  EXPECT_EQ(router.find("GET", "/v2").route->pattern, "/v2");
  const auto match = router.find("POST", "/v2/models/a b/versions/1/infer");
  ASSERT_NE(match.route, nullptr);
  EXPECT_THAT(match.values, ElementsAre(Pair("model", "a b"), Pair("version", "1")));
}

TEST(Router, AnEmptySegmentFillsNoName) {
  const Router router = router_of({{"GET", "/v2/models/{model}"}});
  for (const char* path : {"/v2/models/", "/v2/models", "/v2/models/a/", "//v2/models/a", "", "/"})
    EXPECT_EQ(router.find("GET", path).route, nullptr) << path;
}

TEST(Router, AKnownPathSaysWhichMethodsItTakes) {
  const Router router = router_of({{"POST", "/a"}, {"DELETE", "/a"}});
  const auto match = router.find("GET", "/a");
  EXPECT_EQ(match.route, nullptr);
  EXPECT_THAT(match.allowed, ElementsAre("POST", "DELETE"));
  EXPECT_TRUE(router.find("GET", "/b").allowed.empty());
}

TEST(Router, HeadIsAGetWithoutItsBody) {
  EXPECT_NE(router_of({{"GET", "/a"}}).find("HEAD", "/a").route, nullptr);
}

TEST(ParseTarget, SplitsAndDecodes) {
  const Target target = parse_target("/a%20b/c+d?text=a+b%26c&empty=&alone&&x=1=2");
  EXPECT_EQ(target.path, "/a b/c+d");
  EXPECT_THAT(target.query, ElementsAre(Pair("text", "a b&c"), Pair("empty", ""), Pair("alone", ""),
                                        Pair("x", "1=2")));
  EXPECT_EQ(parse_target("http://example.org/a?b=c").path, "/a");
  EXPECT_EQ(parse_target("http://example.org").path, "/");
}

TEST(ParseTarget, RefusesWhatIsNoEncoding) {
  for (const char* target : {"/%", "/%1", "/%g0", "/a?b=%zz", "/%00"})
    EXPECT_THROW(parse_target(target), Error) << target;
}

}  // namespace
}  // namespace bifocal::http
