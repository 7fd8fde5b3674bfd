#include "url.h"

#include <gtest/gtest.h>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

TEST(ParseUrl, TakesApartWhatIsConnectedTo) {
  const Url url = parse_url("HTTPS://Img.Example:8443/a/../b%41.jpg?size=2#part");
  EXPECT_TRUE(url.secure);
  EXPECT_EQ(url.host, "img.example");
  EXPECT_EQ(url.port, 8443);
  EXPECT_EQ(url.target, "/bA.jpg?size=2");
  const Url plain = parse_url("http://[2606:4700::1111]");
  EXPECT_EQ(plain.host, "2606:4700::1111");
  EXPECT_EQ(plain.port, 80);
  EXPECT_EQ(plain.target, "/");
  EXPECT_EQ(plain.authority, "[2606:4700::1111]");
}

TEST(ParseUrl, RefusesWhatIsNoPlaceOfAnImage) {
  for (const std::string bad :
       {"", "a.jpg", "ftp://a.example/", "file:///etc/passwd", "http://", "http:///a", "http:a",
        "https://user:secret@a.example/", "http://a.example:0/", "http://a.example:99999/",
        "http://a b/", "http://a.example/\r\nX: y", "http://a.example/\x01", "gopher://x",
        "javascript:alert(1)"})
    EXPECT_THROW((void)parse_url(bad), Error) << bad;
  EXPECT_THROW((void)parse_url("http://a.example/" + std::string(kLongestUrl, 'a')), Error);
}

TEST(Follow, ResolvesAgainstThePageThatRedirected) {
  const Url base = parse_url("https://a.example:444/b/c?d");
  EXPECT_EQ(follow(base, "../x").target, "/x");
  EXPECT_EQ(follow(base, "e?f").target, "/b/e?f");
  EXPECT_EQ(follow(base, "/g").port, 444);
  EXPECT_EQ(follow(base, "..").target, "/");
  const Url other = follow(base, "//other.example/y");
  EXPECT_EQ(other.host, "other.example");
  EXPECT_EQ(other.port, 443);
  EXPECT_FALSE(follow(base, "http://plain.example").secure);
  EXPECT_THROW((void)follow(base, "ftp://a.example/"), Error);
}

}  // namespace
}  // namespace bifocal::http
