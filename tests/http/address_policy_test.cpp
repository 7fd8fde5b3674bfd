#include "address_policy.h"

#include <gtest/gtest.h>

#include "bifocal/error.h"

namespace bifocal::http {
namespace {

boost::asio::ip::address at(const char* text) { return boost::asio::ip::make_address(text); }

TEST(IsPublic, IsFalseForEveryRangeThatLeadsInside) {
  for (const char* inside : {"127.0.0.1",
                             "127.255.255.254",
                             "0.0.0.0",
                             "10.1.2.3",
                             "172.16.0.1",
                             "172.31.255.255",
                             "192.168.1.1",
                             "169.254.169.254",
                             "100.64.0.1",
                             "192.0.0.1",
                             "192.0.2.7",
                             "198.18.0.1",
                             "198.51.100.1",
                             "203.0.113.9",
                             "224.0.0.1",
                             "240.0.0.1",
                             "255.255.255.255",
                             "::",
                             "::1",
                             "fe80::1",
                             "fc00::1",
                             "fd00:ec2::254",
                             "ff02::1",
                             "2001:db8::1",
                             "::ffff:127.0.0.1",
                             "::ffff:169.254.169.254",
                             "64:ff9b::7f00:1",
                             "2002:7f00:1::"})
    EXPECT_FALSE(is_public(at(inside))) << inside;
}

TEST(IsPublic, IsTrueForTheNeighboursOfThoseRanges) {
  for (const char* outside :
       {"1.1.1.1", "9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255",
        "192.169.0.0", "169.253.255.255", "169.255.0.0", "100.63.255.255", "100.128.0.0",
        "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8"})
    EXPECT_TRUE(is_public(at(outside))) << outside;
}

TEST(AddressPolicy, WithoutHostsAllowsNothing) {
  const AddressPolicy policy({}, {});
  EXPECT_TRUE(policy.allows_nothing());
  EXPECT_FALSE(policy.allows_host("a.example", 443, 443));
}

TEST(AddressPolicy, HostsAreNamesAndWhatIsBelowThem) {
  const AddressPolicy policy({"img.example", "*.cdn.example", "odd.example:8443"}, {});
  EXPECT_TRUE(policy.allows_host("img.example", 443, 443));
  EXPECT_FALSE(policy.allows_host("img.example", 8443, 443));
  EXPECT_FALSE(policy.allows_host("evil-img.example", 443, 443));
  EXPECT_FALSE(policy.allows_host("img.example.evil.test", 443, 443));
  EXPECT_TRUE(policy.allows_host("a.b.cdn.example", 80, 80));
  EXPECT_FALSE(policy.allows_host("cdn.example", 80, 80));
  EXPECT_FALSE(policy.allows_host("notcdn.example", 80, 80));
  EXPECT_TRUE(policy.allows_host("odd.example", 8443, 443));
  EXPECT_FALSE(policy.allows_host("odd.example", 443, 443));
}

TEST(AddressPolicy, NetworksAddToThePublicAddresses) {
  const AddressPolicy policy({"*"}, {"10.1.0.0/16", "fd00:1::/32"});
  EXPECT_TRUE(policy.allows_address(at("10.1.255.1")));
  EXPECT_FALSE(policy.allows_address(at("10.2.0.1")));
  EXPECT_TRUE(policy.allows_address(at("fd00:1::5")));
  EXPECT_FALSE(policy.allows_address(at("fd00:2::5")));
  EXPECT_TRUE(policy.allows_address(at("8.8.8.8")));
}

TEST(AddressPolicy, NamesTheEntryThatCannotBeRead) {
  for (const char* bad : {"10.0.0.0/33", "10.0.0.0.0/8", "what"}) try {
      const AddressPolicy policy({"*"}, {bad});
      ADD_FAILURE() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(error.message().find(bad), std::string::npos) << error.message();
    }
}

}  // namespace
}  // namespace bifocal::http
