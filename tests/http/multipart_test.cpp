#include "multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

constexpr std::string_view kType = "multipart/form-data; boundary=XyZ";

std::string body_of(const std::string& parts) { return parts + "--XyZ--\r\n"; }
std::string part(const std::string& header, const std::string& data) {
  return "--XyZ\r\n" + header + "\r\n\r\n" + data + "\r\n";
}

TEST(Multipart, GivesThePartsAsTheyWereSent) {
  const std::string data("\x00\r\n--Xy\r\nZ\xff", 11);
  const std::string body =
      body_of(part("Content-Disposition: form-data; name=\"text\"", "a cat") +
              part("content-type: image/png\r\ncontent-disposition: form-data; "
                   "filename=\"my \\\"cat\\\"; a.png\"; name=image",
                   data) +
              part("Content-Disposition: form-data; name=\"empty\"", ""));
  const auto parts = parse_multipart(kType, body);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].name, "text");
  EXPECT_EQ(parts[0].data, "a cat");
  EXPECT_EQ(parts[1].name, "image");
  EXPECT_EQ(parts[1].file_name, "my \"cat\"; a.png");
  EXPECT_EQ(parts[1].content_type, "image/png");
  EXPECT_EQ(parts[1].data, data);
  EXPECT_EQ(parts[2].data, "");
}

TEST(Multipart, TakesTheBoundaryInEachOfItsForms) {
  const std::string body =
      "preamble\r\n" + body_of(part("Content-Disposition: form-data; name=a", "1")) + "epilogue";
  for (const char* type :
       {"multipart/form-data; boundary=XyZ", "multipart/form-data; boundary=\"XyZ\"",
        "Multipart/Form-Data;charset=utf-8 ;  BOUNDARY = XyZ ; x=y"})
    EXPECT_EQ(parse_multipart(type, body).size(), 1u) << type;
}

TEST(Multipart, RefusesEveryPrefixOfABody) {
  const std::string body = body_of(part("Content-Disposition: form-data; name=a", "1"));
  for (std::size_t size = 0; size + 4 < body.size(); ++size)
    EXPECT_THROW(parse_multipart(kType, body.substr(0, size)), Error) << size;
}

TEST(Multipart, RefusesWhatIsNoForm) {
  for (const std::string& body :
       {part("Content-Disposition: form-data", "1"), part("Content-Type: a/b", "1"),
        part("no colon", "1"), std::string("--XyZ garbage\r\n\r\n")})
    EXPECT_THROW(parse_multipart(kType, body_of(body)), Error) << body;
  EXPECT_THROW(parse_multipart("multipart/form-data", "--\r\n"), Error);
  EXPECT_THROW(parse_multipart("multipart/form-data; boundary=\"", "--\r\n"), Error);
}

TEST(Multipart, LimitsPartsAndTheirHeaders) {
  std::string many;
  for (int i = 0; i < 5; ++i) many += part("Content-Disposition: form-data; name=a", "1");
  EXPECT_THROW(parse_multipart(kType, body_of(many), {4, 4096}), Error);
  EXPECT_EQ(parse_multipart(kType, body_of(many), {5, 4096}).size(), 5u);
  const std::string long_header =
      part("Content-Disposition: form-data; name=" + std::string(5000, 'a'), "1");
  EXPECT_THROW(parse_multipart(kType, body_of(long_header)), Error);
}

}  // namespace
}  // namespace bifocal::http
