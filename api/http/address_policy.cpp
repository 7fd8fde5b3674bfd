#include "address_policy.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "bifocal/error.h"
#include "message.h"

namespace bifocal::http {
namespace {

namespace ip = boost::asio::ip;

bool contains(const ip::network_v4& network, const ip::address_v4& address) {
  return (address.to_uint() & network.netmask().to_uint()) == network.network().to_uint();
}

bool contains(const ip::network_v6& network, const ip::address_v6& address) {
  const auto a = address.to_bytes(), b = network.address().to_bytes();
  for (unsigned bit = 0; bit < network.prefix_length(); ++bit) {
    const unsigned mask = 0x80U >> (bit % 8);
    if ((a[bit / 8] & mask) != (b[bit / 8] & mask)) return false;
  }
  return true;
}

// https://www.iana.org/assignments/iana-ipv4-special-registry, and multicast.
bool is_public(const ip::address_v4& address) {
  static const auto kSpecial = [] {
    std::vector<ip::network_v4> networks;
    for (const char* text :
         {"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
          "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
          "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"})
      networks.push_back(ip::make_network_v4(text));
    return networks;
  }();
  return std::none_of(kSpecial.begin(), kSpecial.end(),
                      [&](const auto& network) { return contains(network, address); });
}

// https://www.iana.org/assignments/iana-ipv6-special-registry: of the global unicast block 2000::/3
// what is not set apart. 6to4 and NAT64 lead to IPv4 addresses by way of others: refused whole.
bool is_public(const ip::address_v6& address) {
  if (address.is_v4_mapped()) return is_public(ip::make_address_v4(ip::v4_mapped, address));
  static const auto kGlobal = ip::make_network_v6("2000::/3");
  static const auto kSpecial = [] {
    std::vector<ip::network_v6> networks;
    for (const char* text : {"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"})
      networks.push_back(ip::make_network_v6(text));
    return networks;
  }();
  return contains(kGlobal, address) &&
         std::none_of(kSpecial.begin(), kSpecial.end(),
                      [&](const auto& network) { return contains(network, address); });
}

}  // namespace

bool is_public(const ip::address& address) {
  return address.is_v4() ? is_public(address.to_v4()) : is_public(address.to_v6());
}

AddressPolicy::AddressPolicy(const std::vector<std::string>& hosts,
                             const std::vector<std::string>& networks) {
  for (const std::string& entry : hosts) {
    Host host;
    const auto colon = entry.find(':');
    host.name = entry.substr(0, colon);
    std::transform(host.name.begin(), host.name.end(), host.name.begin(), lower);
    if (colon != std::string::npos) {
      const char* const end = entry.data() + entry.size();
      const auto [read, error] = std::from_chars(entry.data() + colon + 1, end, host.port);
      if (error != std::errc() || read != end || host.port == 0)
        throw Error(ErrorCode::kInvalidArgument,
                    "url-host: '" + entry + "' has no port from 1 to 65535 behind its colon");
    }
    host.any = host.name == "*";
    if (host.name.starts_with("*.")) host.name.erase(0, 1);
    if (host.name.empty() || (!host.any && host.name.find_first_of("*/@ ") != std::string::npos))
      throw Error(ErrorCode::kInvalidArgument,
                  "url-host: '" + entry + "' is not a name, *.name or *, with or without :port");
    hosts_.push_back(std::move(host));
  }
  for (const std::string& entry : networks) {
    boost::system::error_code error;
    if (const auto network4 = ip::make_network_v4(entry, error); !error) {
      networks4_.push_back(network4.canonical());
    } else if (const auto network6 = ip::make_network_v6(entry, error); !error) {
      networks6_.push_back(network6.canonical());
    } else {
      throw Error(ErrorCode::kInvalidArgument,
                  "url-network: '" + entry + "' is not a network such as 10.1.0.0/16 or fd00::/8");
    }
  }
}

bool AddressPolicy::allows_host(std::string_view host, std::uint16_t port,
                                std::uint16_t default_port) const {
  // "example.org." is the same host, and must not slip past a rule.
  if (host.ends_with('.')) host.remove_suffix(1);
  return std::any_of(hosts_.begin(), hosts_.end(), [&](const Host& allowed) {
    if (port != (allowed.port == 0 ? default_port : allowed.port)) return false;
    if (allowed.any) return true;
    if (allowed.name.starts_with('.'))
      return host.size() > allowed.name.size() &&
             equal_ignoring_case(host.substr(host.size() - allowed.name.size()), allowed.name);
    return equal_ignoring_case(host, allowed.name);
  });
}

bool AddressPolicy::allows_address(const ip::address& address) const {
  if (is_public(address)) return true;
  if (address.is_v6() && address.to_v6().is_v4_mapped())
    return allows_address(ip::make_address_v4(ip::v4_mapped, address.to_v6()));
  if (address.is_v4())
    return std::any_of(networks4_.begin(), networks4_.end(),
                       [&](const auto& network) { return contains(network, address.to_v4()); });
  return std::any_of(networks6_.begin(), networks6_.end(),
                     [&](const auto& network) { return contains(network, address.to_v6()); });
}

}  // namespace bifocal::http
